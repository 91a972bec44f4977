import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { argmax } from '../../src/library/kinds/causal-lm/answers/sampling.ts'
import { gatherRows, readPrompts, step } from '../../src/library/kinds/causal-lm/batches/batch.ts'
import { allScores } from '../../src/library/kinds/causal-lm/graph/scores.ts'
import { openEngine } from '../library/kinds/causal-lm/open-engine.ts'
import { shapes } from '../library/kinds/causal-lm/model-shapes.ts'
import { writeModelFolder } from '../support/models/folder.ts'
import { openGreedy } from '../support/models/greedy.ts'

/* These need a device that Vulkan knows: SwiftShader, which computes on the processor, will do. */

describe('on a device, the engine', () => {
  for (const name of ['full attention', 'short convolutions']) {
    test(`answers a model of ${name} as the plain loop does, and only tokens cross, and scores where they are needed`, async () => {
      await using closing = new AsyncDisposableStack()
      const folder = await mkdtemp(join(tmpdir(), 'device-'))
      closing.defer(() => rm(folder, { recursive: true }))
      await writeModelFolder(folder, shapes[name])
      const { greedy, close } = await openGreedy(join(folder, 'onnx/model.onnx'))
      closing.defer(close)
      const engine = await openEngine(
        folder,
        { limits: { rows: 3, tokens: 1000, cached: 1e6 } },
        'some device',
      )
      const { model } = engine
      closing.defer(() => model.close())
      assert.equal(model.level, 'device')

      // Three rows at most go on together, so that others join as they end.
      const prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [13, 14], [15, 16, 17, 18], [19]]
      const expected: number[][] = []
      for (const prompt of prompts) expected.push(await greedy(prompt, 12))
      assert.deepEqual(await engine.answer(prompts), expected)

      const { batch } = await readPrompts(model, 'end', [{ tokens: [5, 6, 7] }])
      const both = await gatherRows(model, { side: 'end', widest: 100 }, [{ batch, rows: [0, 0] }])
      const before = { ...model.crossed }
      const next = await step(model, both, [[8], [9]])
      assert.equal(model.crossed.back - before.back, 2 * 4, 'the number of the likeliest token comes back')
      const columns = model.graph.hasMask ? 4 : 0
      assert.equal(model.crossed.there - before.there, 2 * 8 * (1 + 1 + columns), 'token, position and mask')
      const best = [next.scores.at(0, 0).best, next.scores.at(1, 0).best]
      const scores = await allScores(next.scores)
      assert.deepEqual(best, [argmax(scores(0, 0)), argmax(scores(1, 0))])
      const all = 2 * model.graph.vocabSize * 4
      assert.equal(model.crossed.back - before.back, 2 * 4 + all, 'scores come when they are asked for')
      model.store.release(next.keep([1, 1]).state)
      model.store.release(batch.state)
    })
  }

  test('is not used for a model that needs what it lacks', async () => {
    await using closing = new AsyncDisposableStack()
    const folder = await mkdtemp(join(tmpdir(), 'device-'))
    closing.defer(() => rm(folder, { recursive: true }))
    await writeModelFolder(folder, shapes['half precision'])
    const { greedy, close } = await openGreedy(join(folder, 'onnx/model.onnx'))
    closing.defer(close)
    const engine = await openEngine(folder, {}, 'some device')
    closing.defer(() => engine.model.close())
    // SwiftShader has no half precision; a device that has it, runs it.
    assert.deepEqual(await engine.answer([[5, 6, 7]]), [await greedy([5, 6, 7], 12)])
  })
})
