import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Call, CallReporter, RunFunction } from './library-kind.ts'

/** Runs calls that were begun together, and hands in how each ended, the sooner the better. */
export type RunCalls = (
  calls: readonly Call[],
  reporter: Pick<CallReporter, 'end' | 'progress'>,
) => Promise<void>

/**
 * A function of the user's that runs a window of calls piece by piece: up to `batch` at once if it takes batches, or else
 * as many as a moment is worth.
 */
export function inAdaptiveBatches(batch: number | undefined, run: RunCalls): RunFunction {
  let size = batch ?? 1
  return async (window, reporter) => {
    for (let at = 0; at < window.length;) {
      const begun = await reporter.begin(window.slice(at, at + size))
      at += size
      const started = performance.now()
      if (begun.length > 0) await run(begun, reporter)
      if (batch === undefined) size = nextBatchSize(size, performance.now() - started)
      // Lets results out and calls in, however short and however many the calls are.
      await nextTurn()
    }
  }
}

/** Calls that are begun together should take about this long, milliseconds: a moment, as far as time limits go. */
const TURN_MS = 5
const TURN_CALLS = 256

/**
 * How many calls to announce at once after `size` of them took `ms`. Slow calls are begun one by one, so that the worker
 * can tell which one hangs; very short ones are not worth a message each.
 */
export function nextBatchSize(size: number, ms: number): number {
  const fitting = Math.floor((size * TURN_MS) / Math.max(ms, 0.001))
  return Math.max(1, Math.min(fitting, 2 * size, TURN_CALLS))
}
