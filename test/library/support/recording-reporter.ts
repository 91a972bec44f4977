import assert from 'node:assert/strict'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import type {
  Call,
  CallOutcome,
  CallReporter,
  LoadedContext,
} from '../../../src/library/runtime/library-kind.ts'

/** A desk that notes what a kind does, and holds it to the rules: each call is begun, then ended, once. */
export interface Recorder extends CallReporter {
  /** Ids of the calls that were begun together, in order. */
  readonly begun: number[][]
  readonly outcomes: ReadonlyMap<number, CallOutcome>
  /** What calls gave of their values ahead of them: `[id, part]`. */
  readonly parts: readonly [id: number, part: unknown][]
  /** What calls said of how far they are: `[id, done, total]`. */
  readonly reports: readonly [id: number, done: number, total: number | undefined][]
}

export function createRecorder(
  cancelled: ReadonlySet<number> = new Set(),
  stopped: ReadonlySet<number> = new Set(),
): Recorder {
  const begun: number[][] = []
  const running = new Set<number>()
  const outcomes = new Map<number, CallOutcome>()
  const parts: [number, unknown][] = []
  const reports: [number, number, number | undefined][] = []
  return {
    begun,
    reports,
    parts,
    progress(calls, done, total) {
      for (const { id } of calls) {
        assert.ok(running.has(id), `call ${id} reports, but does not run`)
        reports.push([id, done, total])
      }
    },
    outcomes,
    part({ id }, part) {
      assert.ok(running.has(id), `call ${id} gives a part, but does not run`)
      parts.push([id, part])
    },
    isCancelled: ({ id }) => stopped.has(id),
    signal: ({ id }) => (stopped.has(id) ? AbortSignal.abort() : new AbortController().signal),
    async begin(calls) {
      await Promise.resolve()
      const wanted = calls.filter(({ id }) => !cancelled.has(id))
      for (const { id } of wanted) {
        assert.ok(!running.has(id) && !outcomes.has(id), `call ${id} is begun twice`)
        running.add(id)
      }
      if (wanted.length > 0) begun.push(wanted.map(({ id }) => id))
      return wanted
    },
    end({ id }, outcome) {
      assert.ok(running.delete(id), `call ${id} ends, but does not run`)
      outcomes.set(id, outcome)
    },
  }
}

/** Runs a function on inputs as one window. Returns their outcomes, in the same order. */
export async function runAll(
  context: LoadedContext,
  name: string,
  inputs: readonly JsonValue[],
): Promise<CallOutcome[]> {
  const run = context.functions.get(name)
  assert.ok(run, `there is no function ${name}`)
  const calls: Call[] = inputs.map((input, id) => ({ id, input }))
  const reporter = createRecorder()
  await run(calls, reporter)
  return calls.map(({ id }) => {
    const outcome = reporter.outcomes.get(id)
    assert.ok(outcome, `call ${id} has not ended`)
    return outcome
  })
}

/** The same where every call must succeed: their values. */
export async function valuesOf<T>(
  context: LoadedContext,
  name: string,
  inputs: readonly JsonValue[],
): Promise<T[]> {
  return (await runAll(context, name, inputs)).map((outcome) => {
    if ('error' in outcome) throw outcome.error
    return outcome.value as T
  })
}
