import { toTaskError } from '../../common/task-errors.ts'
import type { Level } from '../../protocol/contexts/context.ts'
import { endsCalls } from '../../protocol/contexts/library-traits.ts'
import type { FromLibrary } from '../../protocol/library.ts'
import type { Outcome, TaskError } from '../../protocol/task.ts'
import type { ExchangeRequest } from '../../protocol/worker.ts'
import { createDeadlineTimer } from '../../common/earliest-timer.ts'
import {
  attributeCrash,
  type SessionEnd,
  explainSetupError,
  MEMORY_LIMIT,
  type LibraryPhase,
  timeLimitOutcome,
} from '../policy/crash-attribution.ts'
import { nameBundles } from '../policy/name-bundles-in-errors.ts'
import type { BlobCache } from '../tasks/blob-cache.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import {
  markUnwanted,
  markBegun,
  type InFlightCall,
  noCallsInFlight,
  takeEnded,
  type CallResult,
  isAlone,
  addCalls,
  timeLimitOf,
  noteProgress,
  withdrawWaiting,
  progressOf,
  stuckCalls,
} from '../tasks/in-flight-calls.ts'
import type { EndedTask, LeasedTask } from '../tasks/task-queue.ts'
import type { LibraryEvent } from './library-event.ts'
import { type LibraryOptions, startLibrary } from './library-process.ts'

/** One library process, from its setup to its end, whichever way that comes. */
export interface LibrarySession {
  /** Whether it may be given calls: it is set up, stays, and runs no task that must be alone. */
  readonly isOpen: boolean
  /** Calls it with these tasks; only while it is open. */
  give(tasks: LeasedTask[]): void
  /**
   * Forgets calls that have not begun and are no longer this worker's. Those that have begun go on; cancelled ones for a
   * while only.
   */
  forget(isGone: (task: LeasedTask) => boolean, isCancelled: (task: LeasedTask) => boolean): void
  /** Lets it end what it has, and no more. */
  retire(): void
  /** Ends it now; its calls go back to the manager. */
  stop(): void
  /** Calls it has. */
  readonly calls: number
  /** How far those of its tasks are that say so. */
  readonly progress: NonNullable<ExchangeRequest['progress']>
  readonly over: Promise<SessionEnd>
}

export interface LibrarySessionOptions extends LibraryOptions {
  /** Brings the blobs of inputs, and sends those of values. */
  blobs: BlobCache
  /** Takes parts of values to the manager. */
  partSender: PartSender
  /** Longest its setup may take, milliseconds. */
  setupLimitMs: number
  /** A call that was cancelled may go on at least this long, milliseconds. Default: 10 s. */
  cancelledMs?: number
  /** Aborts when the batch system takes the node back. */
  evicted: AbortSignal
  onEvent: (event: LibraryEvent) => void
}

const MEMORY_CHECK_MS = 1_000
const CANCELLED_MS = 10_000
/** How often it is looked at whether others still run beside a call that was cancelled, milliseconds. */
const CANCELLED_CHECK_MS = 1_000

/** How long a library that ends calls by itself may take for it, milliseconds: one step. */
const ENDING_MS = 5_000

export function startLibrarySession(options: LibrarySessionOptions): LibrarySession {
  const { blobs, partSender, memoryLimit, setupLimitMs, onEvent, log } = options
  const context = options.setup.context.id
  const named = (error: TaskError) => nameBundles(error, options.setup.bundles)
  const nameIn = (result: CallResult): CallResult =>
    'error' in result && result.error ? { ...result, error: named(result.error) } : result
  const library = startLibrary(options)
  const inFlight = noCallsInFlight()
  const canEndCalls = endsCalls(options.setup.context.spec)
  let phase: LibraryPhase = 'setup'
  let cause: { name: string; message: string } | undefined
  let busySince = 0
  const begunAt = performance.now()
  /** What it takes to bring up another one. */
  let setupMs = 0

  const setupTimer = setTimeout(() => {
    kill('SetupTimeLimit', `setup was not done after ${setupLimitMs / 1000} s, its time limit`)
  }, setupLimitMs)
  const memoryTimer = setInterval(() => void checkMemory(), MEMORY_CHECK_MS)
  const limits = createDeadlineTimer(checkLimits)

  function kill(name: string, message: string) {
    cause ??= { name, message }
    library.kill()
  }

  function stop() {
    phase = 'stopped'
    library.kill()
  }

  function closeIfDone() {
    if (phase === 'retiring' && inFlight.calls.size === 0) library.close()
  }

  function give(tasks: LeasedTask[]) {
    if (tasks.length === 0) return
    if (inFlight.calls.size === 0) busySince = performance.now()
    for (const run of runs(tasks)) send(run[0]!.function, addCalls(inFlight, run))
  }

  function send(name: string, calls: InFlightCall[]) {
    const plain = calls.filter(({ task }) => !task.blobs)
    if (plain.length > 0) library.call(name, plain)
    for (const call of calls) if (call.task.blobs) void sendWithBlobs(name, call)
  }

  /** Its blobs come while it counts as sent, so that those of the next calls come while others run. */
  async function sendWithBlobs(name: string, call: InFlightCall) {
    const { task } = call
    const isOurs = () => inFlight.calls.get(call.id) === call
    try {
      await blobs.bring(task.blobs!)
      call.supplied = true
      if (isOurs()) library.call(name, [call])
      else release([call])
    } catch (error) {
      if (!isOurs()) return
      inFlight.calls.delete(call.id)
      const outcome = { status: 'error' as const, error: toTaskError(error) }
      onEvent({ type: 'task-ended', task: { task, outcome, ms: 0 } })
      closeIfDone()
    }
  }

  /** Lets the blobs of calls go that are in the library no more. */
  function release(calls: Iterable<InFlightCall>) {
    for (const { task, supplied } of calls) if (supplied) blobs.letGo(task.blobs!)
  }

  /** Has the manager have the blobs of a value before it hears of the value. */
  async function deliver(ended: EndedTask, refs: NonNullable<CallResult['blobs']>) {
    const task = await blobs.send(refs).then(
      () => ({ ...ended, blobs: refs }),
      (error: unknown) => ({ ...ended, outcome: { status: 'error' as const, error: toTaskError(error) } }),
    )
    onEvent({ type: 'task-ended', task })
  }

  async function receive(message: FromLibrary) {
    switch (message.type) {
      case 'ready':
        return becomeReady(message.level)
      case 'failed':
        cause = explainSetupError(named(message.error), toMib(memoryLimit))
        return library.close()
      case 'begun':
        for (const call of markBegun(inFlight, message.ids, performance.now())) limits.set(timeLimitOf(call))
        return
      case 'progress':
        if (noteProgress(inFlight, message.calls)) onEvent({ type: 'progress-begun' })
        return
      case 'parts':
        for (const { id, n, part } of message.parts) {
          const task = inFlight.calls.get(id)?.task
          if (task) partSender.send({ task: task.task, lease: task.lease, n, part })
        }
        return
      case 'ended':
        settle(message.calls.map(nameIn), message.ms / Math.max(1, message.calls.length))
        return closeIfDone()
    }
  }

  async function becomeReady(level: Level) {
    clearTimeout(setupTimer)
    const usage = await library.usage()
    const { memory } = usage
    if (memory > memoryLimit) {
      const has = `and its slot has ${toMib(memoryLimit)}: ask for pilots with more memory`
      return kill(MEMORY_LIMIT, `the loaded context takes ${toMib(memory)} MiB, ${has}`)
    }
    if (phase !== 'setup') return
    phase = 'ready'
    setupMs = performance.now() - begunAt
    onEvent({ type: 'loaded', level, memory })
    onEvent({ type: 'measured', usage })
  }

  function settle(results: CallResult[], ms: number) {
    const now = performance.now()
    const ended = takeEnded(inFlight, results)
    release(ended.map(({ call }) => call))
    const tasks: EndedTask[] = []
    for (const { call, result } of ended) {
      const outcome = timeLimitOutcome(call, result.error) ?? outcomeOf(result)
      const task = { task: call.task, outcome, ms, ...logOf(result.log) }
      if (result.blobs) void deliver(task, result.blobs)
      else tasks.push(task)
    }
    const done = ended.filter(({ result }) => 'value' in result)
    const longestMs = done.reduce((most, { call }) => Math.max(most, now - (call.begunAt ?? now)), 0)
    const busyMs = now - busySince
    busySince = now
    onEvent({ type: 'calls-ended', tasks, done: done.length, busyMs, longestMs })
  }

  function checkLimits() {
    const now = performance.now()
    for (const call of inFlight.calls.values()) {
      const limit = timeLimitOf(call)
      if (limit <= now && !call.overdue) {
        call.overdue = true
        if (canEndCalls) library.cancel([call.id])
      }
      const last = canEndCalls ? limit + ENDING_MS : limit
      if (last <= now) kill('TimeLimit', 'a call met its time limit')
      else limits.set(Math.max(limit, call.overdue ? last : 0))
    }
    checkCancelled(now)
  }

  /** A process stuck in calls that are no longer needed is ended: how long they would take is unknown, and another one takes no longer to set up. */
  function checkCancelled(now: number) {
    const { stuck, next } = stuckCalls(inFlight, now)
    if (next === Infinity) return
    if (stuck.length === 0) return limits.set(Math.max(next, now + CANCELLED_CHECK_MS))
    for (const call of stuck) call.overdue = true
    kill('Cancelled', 'a call that was cancelled did not end')
  }

  /** Between calls, a library that has grown too large is let go; its slot starts another. */
  async function checkMemory() {
    if (phase === 'retiring') return
    const usage = await library.usage()
    if (phase === 'setup' || phase === 'ready') onEvent({ type: 'measured', usage })
    const { memory } = usage
    if (memory <= memoryLimit || phase !== 'ready') return
    cause = { name: MEMORY_LIMIT, message: `it used ${toMib(memory)} MiB of ${toMib(memoryLimit)}` }
    phase = 'retiring'
    closeIfDone()
  }

  async function live(): Promise<SessionEnd> {
    try {
      for await (const message of library.messages) await receive(message)
    } catch (error) {
      kill('ProtocolError', (error as Error).message)
    }
    clearTimeout(setupTimer)
    clearInterval(memoryTimer)
    limits.clear()
    library.close()
    const exit = await library.exited
    const death = { phase, cause, exit, evicted: options.evicted.aborted, now: performance.now() }
    const { end, ended, spared } = attributeCrash(death, [...inFlight.calls.values()])
    phase = 'stopped'
    release(inFlight.calls.values())
    inFlight.calls.clear()
    const tasks = ended.map(({ call: { task }, outcome, ms, log }) => ({ task, outcome, ms, ...logOf(log) }))
    onEvent({ type: 'process-ended', tasks, spared: spared.map(({ task }) => task) })
    log.debug({ context, end }, 'the library has ended')
    return end
  }

  return {
    get isOpen() {
      return phase === 'ready' && !isAlone(inFlight)
    },
    give,
    forget(isGone, isCancelled) {
      const now = performance.now()
      const unwanted = [...inFlight.calls.values()].filter(
        ({ task, begunAt, endBy }) => begunAt !== undefined && endBy === undefined && isCancelled(task),
      )
      if (canEndCalls && unwanted.length > 0) library.cancel(unwanted.map(({ id }) => id))
      markUnwanted(inFlight, isCancelled, now + Math.max(setupMs, options.cancelledMs ?? CANCELLED_MS))
      const calls = withdrawWaiting(inFlight, isGone)
      release(calls)
      if (calls.length > 0) library.cancel(calls.map(({ id }) => id))
      if (calls.length > 0) onEvent({ type: 'calls-withdrawn', tasks: calls.map(({ task }) => task) })
      checkCancelled(now)
      closeIfDone()
    },
    retire() {
      if (phase === 'setup') return stop()
      if (phase === 'ready') phase = 'retiring'
      closeIfDone()
    },
    stop,
    get calls() {
      return inFlight.calls.size
    },
    get progress() {
      return progressOf(inFlight)
    },
    over: live(),
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

function toMib(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
