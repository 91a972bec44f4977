import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { toTaskError } from '../../../src/common/task-errors.ts'
import type { Call, LoadedContext, Setup } from '../../../src/library/runtime/library-kind.ts'
import { loadContext } from '../../../src/library/kinds/load-context.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import { createRecorder, valuesOf } from './recording-reporter.ts'

/** What a kind of library brings to be judged by: a context, and calls in it whose outcomes are known. */
export interface KindSample {
  setup: Setup
  /** One of the context's functions. */
  name: string
  /** Inputs it takes and the values it gives for them, at least three. */
  good: { input: JsonValue; value: unknown }[]
  /** An input it cannot take, and what it says about it. */
  bad: { input: JsonValue; message: RegExp }
  /** Setups that cannot work, and what is said about them. */
  broken: { setup: Setup; message: RegExp }[]
}

/** What every kind of library must do, whatever it holds. */
export function acceptKind(kind: string, prepare: () => Promise<KindSample>): void {
  describe(`a ${kind} context`, () => {
    let sample: KindSample
    let context: LoadedContext
    before(async () => {
      sample = await prepare()
      context = await loadContext(sample.setup)
    })
    after(() => context.close())

    const window = (inputs: readonly JsonValue[]): Call[] => inputs.map((input, i) => ({ id: i + 1, input }))
    const run = async (calls: readonly Call[], cancelled?: ReadonlySet<number>) => {
      const reporter = createRecorder(cancelled)
      await context.functions.get(sample.name)?.(calls, reporter)
      return reporter
    }

    test('has the functions its description names, and no others', () => {
      assert.deepEqual([...context.functions.keys()], Object.keys(sample.setup.context.spec.functions))
    })

    test('is held in memory on a slot without an accelerator', () => {
      assert.equal(context.level, 'memory')
    })

    test('gives each call the value of its own input, whatever it shares a window with', async () => {
      const { good } = sample
      const windows = [good, good.toReversed(), [...good, ...good, ...good], ...good.map((one) => [one])]
      for (const each of windows) {
        const inputs = each.map(({ input }) => input)
        assert.deepEqual(
          await valuesOf(context, sample.name, inputs),
          each.map(({ value }) => value),
        )
      }
    })

    test('is at peace with an empty window', async () => {
      assert.equal((await run([])).outcomes.size, 0)
    })

    test('makes an input it cannot take the error of that call alone', async () => {
      const { good, bad } = sample
      const reporter = await run(window([good[0]!.input, bad.input, good[1]!.input]))
      const outcome = reporter.outcomes.get(2)
      assert.ok(outcome && 'error' in outcome)
      const error = toTaskError(outcome.error)
      assert.match(error.message, bad.message)
      assert.ok(error.name)
      assert.deepEqual(reporter.outcomes.get(1), { value: good[0]!.value })
      assert.deepEqual(reporter.outcomes.get(3), { value: good[1]!.value })
    })

    test('does not run a call that is no longer wanted', async () => {
      const reporter = await run(window(sample.good.map(({ input }) => input)), new Set([2]))
      assert.ok(!reporter.outcomes.has(2))
      assert.equal(reporter.outcomes.size, sample.good.length - 1)
    })

    test('says what is wrong with a bundle it cannot load', async () => {
      for (const { setup, message } of sample.broken) await assert.rejects(loadContext(setup), message)
    })
  })
}
