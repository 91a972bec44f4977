import assert from 'node:assert/strict'
import { cp, mkdtemp, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { planThreads } from '../../../../src/library/kinds/causal-lm/batches/batch-sizes.ts'
import type { LoadedContext } from '../../../../src/library/runtime/library-kind.ts'
import { createRecorder, runAll, valuesOf } from '../../support/recording-reporter.ts'
import { toSetup } from '../../support/setup-message.ts'

const model = fileURLToPath(new URL('../../../fixtures/models/grouped-query', import.meta.url))
const GIB = 2 ** 30

describe('a small model on several processors', () => {
  const load = (threads: number, folder = model) => {
    const functions = { go: { maxNewTokens: 12 } }
    const setup = toSetup({ library: 'causal-lm', setup: { model: 'model' }, functions }, { model: folder })
    return loadContext({ ...setup, threads })
  }
  const prompts = Array.from({ length: 40 }, (_, i) => `a b ${i} c`)
  let context: LoadedContext
  before(async () => (context = await load(2)))
  after(() => context.close())

  test('is held by a thread for each, which give the answers that one gives', async () => {
    const one = await load(1)
    assert.deepEqual([one.lanes, context.lanes], [undefined, { count: 2, calls: 'share' }])
    const expected = await valuesOf(one, 'go', prompts)
    await one.close()
    const windows = [prompts.slice(0, 15), prompts.slice(15)]
    const answers = await Promise.all(windows.map((window) => valuesOf(context, 'go', window)))
    assert.deepEqual(answers.flat(), expected)
  })

  test('says what is wrong with an input as it does in one thread, and runs no call that is cancelled', async () => {
    const [wrong] = await runAll(context, 'go', [{ prompt: 7 }])
    assert.equal((wrong as { error: Error }).error.name, 'InputError')
    const reporter = createRecorder(new Set([0]), new Set([1]))
    await context.functions.get('go')!(
      prompts.slice(0, 3).map((input, id) => ({ id, input })),
      reporter,
    )
    assert.deepEqual([...reporter.outcomes.keys()].sort(), [1, 2])
    assert.equal((reporter.outcomes.get(1) as { error: Error }).error.name, 'CancelledError')
  })

  test('that is damaged is refused as in one thread', async () => {
    await using closing = new AsyncDisposableStack()
    const folder = await mkdtemp(join(tmpdir(), 'damaged-'))
    closing.defer(() => rm(folder, { recursive: true }))
    await cp(model, folder, { recursive: true })
    await truncate(join(folder, 'onnx/model.onnx'), 1000)
    await assert.rejects(load(2, folder), { name: 'ContextFilesError', message: /cut off/ })
  })
})

describe('the threads for a model', () => {
  test('are as many as processors where it is small, and memory suffices for the copies', () => {
    assert.deepEqual(planThreads({ threads: 4, weights: 10 << 20, free: 8 * GIB }), { count: 4, each: 1 })
    assert.deepEqual(planThreads({ threads: 8, weights: 10 << 20, free: 2 * GIB }), { count: 3, each: 2 })
    assert.deepEqual(planThreads({ threads: 8, weights: GIB, free: 64 * GIB }), { count: 1, each: 8 })
    assert.deepEqual(planThreads({ threads: 1, weights: 10 << 20, free: 8 * GIB }), { count: 1, each: 1 })
  })
})
