import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import * as runtime from 'onnxruntime-node'
import { readConfig } from '../../../../../../src/library/kinds/causal-lm/files/model-config.ts'
import { loadModel } from '../../../../../../src/library/kinds/causal-lm/graph/model.ts'
import { openRewritten } from '../../../../../../src/library/kinds/causal-lm/graph/rewrite/open-rewritten.ts'
import { readSkeleton } from '../../../../../../src/library/kinds/causal-lm/graph/rewrite/graph-without-weights.ts'
import type { DecoderShape } from '../../../../../support/models/decoder.ts'
import { externalData, writeModelFolder } from '../../../../../support/models/folder.ts'

let scratch: string
before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'rewrite-'))
})
after(() => rm(scratch, { recursive: true }))

async function open(name: string, shape: Partial<DecoderShape>) {
  const folder = join(scratch, name)
  await writeModelFolder(folder, shape)
  const session = await openRewritten(runtime, join(folder, 'onnx/model.onnx'), await readConfig(folder), {})
  await session?.release()
  return { folder, session }
}

describe('a graph of plain operators', () => {
  const weights = externalData('model.onnx_data')
  const shapes: Record<string, Partial<DecoderShape>> = {
    'whose queries share keys': {},
    'with keys for each query': { kvHeads: 4 },
    'whose values are wider than its keys': { valueDim: 32 },
    'of half precision': { type: 'float16' },
    'of 4 bits': { hidden: 32, matrices: 'int4' },
    'whose layers share a cache': { layers: ['full', 'shared', 'full'] },
    'with convolutions between': { layers: ['full', 'conv', 'full'] },
    'with dimensions named by layer': { ownSymbols: true },
    'that can say for how many columns it gives scores': { keepLogits: 'num_logits_to_keep' },
    'with large weights': { hidden: 64, intermediate: 128 },
    'with weights beside it': { external: weights.external },
  }
  for (const [title, shape] of Object.entries(shapes)) {
    test(`${title} gives the same scores rewritten, whatever it goes on from`, async () => {
      if (shape.external) await weights.write(join(scratch))
      const folder = join(scratch, title)
      await writeModelFolder(folder, shape)
      if (shape.external) await weights.write(join(folder, 'onnx'))
      const config = await readConfig(folder)
      const options = { graph: 'onnx/model.onnx', threads: 1, device: 'cpu' }
      const scores: number[][][] = []
      for (const asExported of [true, false]) {
        const model = await loadModel(folder, config, { ...options, asExported })
        assert.equal(model.inPlace, !asExported)
        // A convolution hears of padding, so that what attention makes of that matters.
        scores.push(await goOn(model, shape.layers?.includes('conv') ? [5, 5] : [5, 3]))
        await model.close()
      }
      const [was, is] = scores as [number[][], number[][]]
      const limit = shape.type === 'float16' ? 0.2 : 1e-3
      was.forEach((row, i) =>
        row.forEach((score, j) =>
          assert.ok(Math.abs(score - is[i]![j]!) < limit, `${i}: ${score} ${is[i]![j]}`),
        ),
      )
    })
  }

  for (const [title, shape] of Object.entries<Partial<DecoderShape>>({
    'that looks at the last columns only': { layers: [{ window: 6 }, 'full'] },
    'that looks at very many columns, but not all': { layers: [{ window: 300 }] },
    'that counts columns itself': { positions: 'columns' },
    'that counts tokens by its mask': { positions: 'mask' },
    'with an operator for attention': { attention: 'group-query' },
    'without attention': { layers: ['recurrent'] },
  })) {
    test(`${title} runs as it was exported`, async () => {
      assert.equal((await open(title, shape)).session, undefined)
    })
  }

  test('of which a part is missing is none that can be rewritten', async () => {
    const missing = join(scratch, 'missing.onnx')
    const config = await readConfig((await open('whole', {})).folder)
    assert.equal(await openRewritten(runtime, missing, config, {}), undefined)
  })
})

test('the weights of a graph are left in its file, and its operators are not', async () => {
  const { folder } = await open('skeleton', { hidden: 64, intermediate: 256, layers: ['full'] })
  const skeleton = await readSkeleton(join(folder, 'onnx/model.onnx'))
  assert.ok(skeleton!.length < 16_384, `${skeleton!.length}`)
  assert.ok(Buffer.from(skeleton!).includes('Softmax'))
})

/** Scores after a prompt padded in front, after more of it, and after 40 tokens one by one, a row leaving on the way. */
async function goOn(
  { forward, store }: Awaited<ReturnType<typeof loadModel>>,
  lengths: number[],
): Promise<number[][]> {
  const scores: number[][] = []
  let rows = 2
  let state = store.blank(rows)
  const feed = async (width: number, from: number) => {
    const columns = state.columns + width
    const tokens = Array.from({ length: rows * width }, (_, i) => 3 + ((from * 7 + i * 5) % 200))
    const mask = Array.from({ length: rows * columns }, (_, i) =>
      i % columns >= 5 - (lengths[Math.floor(i / columns)] as number) ? 1 : 0,
    )
    const positions = tokens.map((_, i) => {
      const row = Math.floor(i / width)
      return Math.max(0, state.columns + (i % width) - (5 - (lengths[row] as number)))
    })
    const seen = await forward({ rows, width, tokens, positions, mask, state, scored: 1 })
    for (let row = 0; row < rows; row++) scores.push(Array.from(seen.scores.at(row, width - 1).all))
    state = seen.state
  }
  await feed(5, 1)
  await feed(3, 2)
  for (let step = 3; step < 43; step++) {
    if (step === 20) {
      const stays = [{ source: state, row: 1, from: 0, to: 0, count: state.columns }]
      state = await store.arrange(stays, state.columns, { base: state })
      rows = 1
      lengths.shift()
    }
    await feed(1, step)
  }
  store.release(state)
  return scores
}
