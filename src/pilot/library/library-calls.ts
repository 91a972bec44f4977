import { createDeadlineTimer } from '../../common/earliest-timer.ts'
import { toTaskError } from '../../common/task-errors.ts'
import type { FromLibrary } from '../../protocol/library.ts'
import type { Outcome } from '../../protocol/task.ts'
import { type CrashAttribution, timeLimitOutcome } from '../policy/crash-attribution.ts'
import type { BlobCache } from '../tasks/blob-cache.ts'
import {
  addCalls,
  type CallResult,
  type InFlightCall,
  isAlone,
  markBegun,
  markUnwanted,
  noCallsInFlight,
  noteProgress,
  progressOf,
  stuckCalls,
  takeEnded,
  timeLimitOf,
  withdrawWaiting,
} from '../tasks/in-flight-calls.ts'
import type { EndedTask, LeasedTask } from '../tasks/task-queue.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import type { LibraryEvent } from './library-event.ts'
import type { LibraryProcess } from './library-process.ts'

export interface LibraryCallsOptions {
  library: Pick<LibraryProcess, 'call' | 'cancel'>
  /** Whether the library can end calls that have begun. */
  canEndCalls: boolean
  /** Brings the blobs of inputs, and sends those of values. */
  blobs: BlobCache
  /** Takes parts of values to the manager. */
  partSender: PartSender
  onEvent: (event: LibraryEvent) => void
  /** A call went away by itself, so that none may be left. */
  onWithdrawn: () => void
  /** The library is stuck in a call that it should have ended, and is to be killed. */
  onStuck: (name: string, message: string) => void
}

/** How often it is looked at whether others still run beside a call that was cancelled, milliseconds. */
const CANCELLED_CHECK_MS = 1_000
/** How long a library that ends calls by itself may take for it, milliseconds: one step. */
const ENDING_MS = 5_000

/** The calls that one library process has: sends them, watches their limits, and turns what it says of them into events. */
export class LibraryCalls {
  readonly #options: LibraryCallsOptions
  readonly #inFlight = noCallsInFlight()
  readonly #limits = createDeadlineTimer(() => this.#checkLimits())
  #busySince = 0

  constructor(options: LibraryCallsOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#inFlight.calls.size
  }

  get inFlight(): InFlightCall[] {
    return [...this.#inFlight.calls.values()]
  }

  /** Whether one of them must have the library for itself. */
  get isAlone(): boolean {
    return isAlone(this.#inFlight)
  }

  /** How far those of their tasks are that say so. */
  get progress(): ReturnType<typeof progressOf> {
    return progressOf(this.#inFlight)
  }

  give(tasks: LeasedTask[]): void {
    if (tasks.length === 0) return
    if (this.count === 0) this.#busySince = performance.now()
    for (const run of runs(tasks)) this.#send(run[0]!.function, addCalls(this.#inFlight, run))
  }

  #send(name: string, calls: InFlightCall[]): void {
    const plain = calls.filter(({ task }) => !task.blobs)
    if (plain.length > 0) this.#options.library.call(name, plain)
    for (const call of calls) if (call.task.blobs) void this.#sendWithBlobs(name, call)
  }

  /** Its blobs come while it counts as sent, so that those of the next calls come while others run. */
  async #sendWithBlobs(name: string, call: InFlightCall): Promise<void> {
    const { blobs, library, onEvent, onWithdrawn } = this.#options
    const { task } = call
    const isOurs = () => this.#inFlight.calls.get(call.id) === call
    try {
      await blobs.bring(task.blobs!)
      call.supplied = true
      if (isOurs()) library.call(name, [call])
      else this.#release([call])
    } catch (error) {
      if (!isOurs()) return
      this.#inFlight.calls.delete(call.id)
      const outcome = { status: 'error' as const, error: toTaskError(error) }
      onEvent({ type: 'task-ended', task: { task, outcome, ms: 0 } })
      onWithdrawn()
    }
  }

  /** Lets the blobs of calls go that are in the library no more. */
  #release(calls: Iterable<InFlightCall>): void {
    for (const { task, supplied } of calls) if (supplied) this.#options.blobs.letGo(task.blobs!)
  }

  markBegun(ids: readonly number[]): void {
    for (const call of markBegun(this.#inFlight, ids, performance.now())) this.#limits.set(timeLimitOf(call))
  }

  noteProgress(reports: Extract<FromLibrary, { type: 'progress' }>['calls']): void {
    if (noteProgress(this.#inFlight, reports)) this.#options.onEvent({ type: 'progress-begun' })
  }

  sendParts(parts: Extract<FromLibrary, { type: 'parts' }>['parts']): void {
    for (const { id, n, part } of parts) {
      const task = this.#inFlight.calls.get(id)?.task
      if (task) this.#options.partSender.send({ task: task.task, lease: task.lease, n, part })
    }
  }

  /** @param ms of the library's time that each of them took */
  end(results: CallResult[], ms: number): void {
    const now = performance.now()
    const ended = takeEnded(this.#inFlight, results)
    this.#release(ended.map(({ call }) => call))
    const tasks: EndedTask[] = []
    for (const { call, result } of ended) {
      const outcome = timeLimitOutcome(call, result.error) ?? outcomeOf(result)
      const task = { task: call.task, outcome, ms, ...logOf(result.log) }
      if (result.blobs) void this.#deliver(task, result.blobs)
      else tasks.push(task)
    }
    const done = ended.filter(({ result }) => 'value' in result)
    const longestMs = done.reduce((most, { call }) => Math.max(most, now - (call.begunAt ?? now)), 0)
    const busyMs = now - this.#busySince
    this.#busySince = now
    this.#options.onEvent({ type: 'calls-ended', tasks, done: done.length, busyMs, longestMs })
  }

  /** Has the manager have the blobs of a value before it hears of the value. */
  async #deliver(ended: EndedTask, refs: NonNullable<CallResult['blobs']>): Promise<void> {
    const task = await this.#options.blobs.send(refs).then(
      () => ({ ...ended, blobs: refs }),
      (error: unknown) => ({ ...ended, outcome: { status: 'error' as const, error: toTaskError(error) } }),
    )
    this.#options.onEvent({ type: 'task-ended', task })
  }

  /**
   * Forgets calls that have not begun and are no longer this worker's. Those that have begun go on; cancelled ones for
   * `cancelledMs` milliseconds only.
   */
  forget(
    isGone: (task: LeasedTask) => boolean,
    isCancelled: (task: LeasedTask) => boolean,
    cancelledMs: number,
  ): void {
    const { library, canEndCalls, onEvent } = this.#options
    const now = performance.now()
    const unwanted = this.inFlight.filter(
      ({ task, begunAt, endBy }) => begunAt !== undefined && endBy === undefined && isCancelled(task),
    )
    if (canEndCalls && unwanted.length > 0) library.cancel(unwanted.map(({ id }) => id))
    markUnwanted(this.#inFlight, isCancelled, now + cancelledMs)
    const calls = withdrawWaiting(this.#inFlight, isGone)
    this.#release(calls)
    if (calls.length > 0) library.cancel(calls.map(({ id }) => id))
    if (calls.length > 0) onEvent({ type: 'calls-withdrawn', tasks: calls.map(({ task }) => task) })
    this.#checkCancelled(now)
  }

  #checkLimits(): void {
    const { library, canEndCalls, onStuck } = this.#options
    const now = performance.now()
    for (const call of this.#inFlight.calls.values()) {
      const limit = timeLimitOf(call)
      if (limit <= now && !call.overdue) {
        call.overdue = true
        if (canEndCalls) library.cancel([call.id])
      }
      const last = canEndCalls ? limit + ENDING_MS : limit
      if (last <= now) onStuck('TimeLimit', 'a call met its time limit')
      else this.#limits.set(Math.max(limit, call.overdue ? last : 0))
    }
    this.#checkCancelled(now)
  }

  /** A process stuck in calls that are no longer needed is ended: how long they would take is unknown, and another one takes no longer to set up. */
  #checkCancelled(now: number): void {
    const { stuck, next } = stuckCalls(this.#inFlight, now)
    if (next === Infinity) return
    if (stuck.length === 0) return this.#limits.set(Math.max(next, now + CANCELLED_CHECK_MS))
    for (const call of stuck) call.overdue = true
    this.#options.onStuck('Cancelled', 'a call that was cancelled did not end')
  }

  stopWatching(): void {
    this.#limits.clear()
  }

  /** Takes leave of all calls after the process has ended, as its end is attributed to them. */
  endAll({ ended, spared }: Pick<CrashAttribution, 'ended' | 'spared'>): void {
    this.#release(this.#inFlight.calls.values())
    this.#inFlight.calls.clear()
    const tasks = ended.map(({ call: { task }, outcome, ms, log }) => ({ task, outcome, ms, ...logOf(log) }))
    this.#options.onEvent({ type: 'process-ended', tasks, spared: spared.map(({ task }) => task) })
  }
}

/** Stretches of tasks with the same function. */
function* runs(tasks: LeasedTask[]): Generator<LeasedTask[]> {
  let start = 0
  for (let i = 1; i <= tasks.length; i++) {
    if (i < tasks.length && tasks[i]!.function === tasks[start]!.function) continue
    yield tasks.slice(start, i)
    start = i
  }
}

function outcomeOf({ value = null, error }: CallResult): Outcome {
  return error ? { status: 'error', error } : { status: 'done', value }
}

function logOf(log: string | undefined): { log?: string } {
  return log === undefined ? {} : { log }
}
