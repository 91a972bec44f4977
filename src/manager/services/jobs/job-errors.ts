import { setImmediate as turn } from 'node:timers/promises'
import { commonest, type ErrorCounts, noErrors, noteError } from '../../../core/failure-tally.ts'
import type { JobErrors } from '../../../protocol/client.ts'
import { taskTraceparent } from '../../../protocol/trace-context.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import { nodeOf } from '../../ledger/pilot-store.ts'
import type { StoredFailure } from '../../ledger/result-store.ts'

/** Results that are looked through at once: others take turns with it. */
const LOOK_AT_ONCE = 10_000
/** Kinds of error that are told. */
const TOLD = 10

interface Seen {
  /** Results up to this one have been counted. */
  cursor: number
  counts: ErrorCounts<StoredFailure>
}

/** The failures of one job by kind. What was counted once is not read again. */
export class ErrorTally {
  readonly #ledger: Ledger
  readonly #job: number
  readonly #traceparent: string
  #seen: Seen = { cursor: 0, counts: noErrors() }
  #reading: Promise<unknown> = Promise.resolve()

  /** @param traceparent the job's */
  constructor(ledger: Ledger, job: number, traceparent: string) {
    this.#ledger = ledger
    this.#job = job
    this.#traceparent = traceparent
  }

  /** Starts over, because failures were taken back. */
  reset(): void {
    this.#seen = { cursor: 0, counts: noErrors() }
  }

  /** All that are in the ledger now. */
  read(): Promise<JobErrors> {
    const result = this.#reading.then(() => this.#read())
    this.#reading = result.catch(() => {})
    return result
  }

  async #read(): Promise<JobErrors> {
    const seen = this.#seen
    while (lookOn(this.#ledger, this.#job, seen)) await turn()
    const { kinds, others } = seen.counts
    const failed = kinds.values().reduce((sum, { tasks }) => sum + tasks, others)
    const errors = commonest(seen.counts, TOLD).map(({ tasks, first: { task, worker, error } }) => {
      const node = nodeOf(this.#ledger, worker)
      const key = this.#ledger.tasks.keyOf(task)
      const traceparent = taskTraceparent(this.#traceparent, task)
      const where = { ...(node !== undefined && { node }), ...(traceparent !== undefined && { traceparent }) }
      return { tasks, error, example: { key, worker, ...where } }
    })
    return { failed, kinds: kinds.size, errors }
  }
}

/** Counts the next of a job's results; false if there are no more. */
function lookOn(ledger: Ledger, job: number, seen: Seen): boolean {
  const last = ledger.results.visitFailures(job, seen.cursor, LOOK_AT_ONCE, (failure) =>
    noteError(seen.counts, failure.error, () => failure),
  )
  if (last === undefined) return false
  seen.cursor = last
  return true
}
