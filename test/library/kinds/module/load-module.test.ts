import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { LoadedContext, Setup } from '../../../../src/library/runtime/library-kind.ts'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { nextBatchSize } from '../../../../src/library/runtime/adaptive-batching.ts'
import { acceptKind } from '../../support/kind-suite.ts'
import { createRecorder, runAll, valuesOf } from '../../support/recording-reporter.ts'
import { calculatorSetup } from '../../support/setup-message.ts'

const numbers = [1, 2, 3, 40].map((n) => ({ input: { n }, value: 100 + n }))
const broken: { setup: Setup; message: RegExp }[] = [
  { setup: calculatorSetup({ add: {} }, { file: 'absent.js' }), message: /absent\.js/ },
  { setup: calculatorSetup({ subtract: {} }), message: /no function "subtract"; it exports .*addAll/ },
  { setup: calculatorSetup({ version: {} }), message: /no function "version"/ },
  { setup: calculatorSetup({ add: {} }, { call: 'close' }), message: /no function "close"/ },
  {
    setup: calculatorSetup({ add: {} }, { args: ['zero'] }),
    message: /needs a number to start from, not zero/,
  },
  { setup: { ...calculatorSetup({ add: {} }), bundles: {} }, message: /bundle "app"/ },
]
const bad = { input: { n: 'many' }, message: /n is "many", not a number/ }

acceptKind('module', () =>
  Promise.resolve({ setup: calculatorSetup({ add: {} }), name: 'add', good: numbers, bad, broken }),
)
acceptKind('module (asynchronous)', () =>
  Promise.resolve({
    setup: calculatorSetup({ addLater: {}, add: {} }),
    name: 'addLater',
    good: numbers,
    bad,
    broken,
  }),
)

async function withContext(setup: Setup, use: (context: LoadedContext) => Promise<void>): Promise<void> {
  const context = await loadContext(setup)
  try {
    await use(context)
  } finally {
    await context.close()
  }
}

describe('a function of a module that takes batches', () => {
  test('gets as many inputs at once as it asked for', () =>
    withContext(calculatorSetup({ addAll: { batch: 3 }, peek: {} }), async (context) => {
      const inputs = Array.from({ length: 8 }, (_, n) => ({ n }))
      assert.deepEqual(
        await valuesOf(context, 'addAll', inputs),
        inputs.map(({ n }) => 100 + n),
      )
      const [state] = await valuesOf<{ batches: number[] }>(context, 'peek', [null])
      assert.deepEqual(state?.batches, [3, 3, 2])
    }))

  test('is not called with inputs of calls that are not wanted', () =>
    withContext(calculatorSetup({ addAll: { batch: 2 }, peek: {} }), async (context) => {
      const calls = [1, 2, 3, 4].map((id) => ({ id, input: { n: id } }))
      const reporter = createRecorder(new Set([1, 3, 4]))
      await context.functions.get('addAll')?.(calls, reporter)
      assert.deepEqual([...reporter.outcomes], [[2, { value: 102 }]])
      const [state] = await valuesOf<{ batches: number[] }>(context, 'peek', [null])
      assert.deepEqual(state?.batches, [1])
    }))

  test('fails all calls of a batch it throws for, or gives the wrong number of results for', () =>
    withContext(calculatorSetup({ addAll: { batch: 2 }, tooFew: { batch: 2 } }), async (context) => {
      const outcomes = await runAll(context, 'addAll', [{ n: 1 }, { n: '?' }, { n: 3 }])
      assert.deepEqual(
        outcomes.map((outcome) => 'error' in outcome),
        [true, true, false],
      )
      const [first] = await runAll(context, 'tooFew', [1, 2])
      assert.match(String(first && 'error' in first && first.error), /2 inputs gave 1 results/)
    }))
})

describe('a module context', () => {
  test('is set up once, and disposed of in the end', async () => {
    const context = await loadContext(calculatorSetup({ peek: {} }))
    const [first, second] = await valuesOf<{ disposed?: boolean }>(context, 'peek', [1, 2])
    assert.equal(first, second)
    assert.equal(first?.disposed, undefined)
    await context.close()
    assert.equal(first?.disposed, true)
  })

  test('needs no setup function', () =>
    withContext(calculatorSetup({ peek: {} }, { call: undefined }), async (context) => {
      assert.deepEqual(await valuesOf(context, 'peek', ['a', null]), [undefined, undefined])
    }))
})

describe('how many calls are begun at once', () => {
  test('is one when they are slow, and never more than a moment is worth', () => {
    assert.equal(nextBatchSize(1, 400), 1)
    assert.equal(nextBatchSize(64, 640), 1)
    assert.equal(nextBatchSize(256, 0), 256)
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 256 }),
        fc.double({ min: 0, max: 1e6, noNaN: true }),
        (size, ms) => {
          const next = nextBatchSize(size, ms)
          assert.ok(Number.isInteger(next) && next >= 1 && next <= 256 && next <= 2 * size)
          assert.ok(next === 1 || (next * ms) / size <= 5.001)
        },
      ),
    )
  })

  test('grows to hundreds while calls are short', () => {
    let size = 1
    for (let i = 0; i < 10; i++) size = nextBatchSize(size, size * 0.001)
    assert.equal(size, 256)
  })
})
