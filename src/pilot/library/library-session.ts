import { toTaskError } from '../../common/task-errors.ts'
import type { Level } from '../../protocol/contexts/context.ts'
import { endsCalls } from '../../protocol/contexts/library-kinds.ts'
import type { FromLibrary } from '../../protocol/library.ts'
import type { Outcome, TaskResult } from '../../protocol/task.ts'
import type { ExchangeRequest } from '../../protocol/worker.ts'
import { createDeadlineTimer } from '../../common/deadline-timer.ts'
import {
  attributeCrash,
  type SessionEnd,
  explainSetupError,
  MEMORY_LIMIT,
  type LibraryPhase,
  timeLimitOutcome,
} from '../policy/crash-attribution.ts'
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
import {
  closeTask,
  finishTask,
  type TaskQueue,
  type LeasedTask,
  putBack,
  takeAlone,
  takeTogether,
  waitsAlone,
} from '../tasks/task-queue.ts'
import { type LibraryOptions, startLibrary } from './library-process.ts'
import type { Usage } from '../policy/library-eviction.ts'

/** One library's life, from its setup to its end, whichever way that comes. */
export interface LibrarySession {
  /** Gives it calls from the hand, if it has room for any. */
  feed(): void
  /**
   * Forgets calls that have not begun and are no longer this worker's. Those that have begun go on; if they are cancelled,
   * not for ever.
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
  taskQueue: TaskQueue
  /** Brings the blobs of inputs, and sends those of values. */
  blobs: BlobCache
  /** Takes parts of values to the manager. */
  partSender: PartSender
  /** Whether it may be given calls: one library of a slot at a time. */
  isTurn: () => boolean
  /** How many calls it should have. */
  window: () => number
  /** Longest its setup may take, milliseconds. */
  setupLimitMs: number
  /** A call that was cancelled may go on at least this long, milliseconds. Default: 10 s. */
  cancelledMs?: number
  /** Aborts when the batch system takes the node back. */
  evicted: AbortSignal
  onReady: (level: Level, memory: number) => void
  /** What it takes has been measured; now and then, from its start on. */
  onUsage: (usage: Usage) => void
  /**
   * Calls ended: how many were done, in what time since the last ones ended, and how long the longest of them took; milliseconds.
   */
  onEnded: (done: number, busyMs: number, longestMs: number) => void
  /** A task has an outcome besides those that ended just now, or says for the first time how far it is. */
  onTaskChange: () => void
}

const MEMORY_CHECK_MS = 1_000
const CANCELLED_MS = 10_000
/** How often it is looked at whether others still run beside a call that was cancelled, milliseconds. */
const CANCELLED_CHECK_MS = 1_000

/** How long a library that ends calls by itself may take for it, milliseconds: one step. */
const ENDING_MS = 5_000

/** A window's part that must be free before it is filled up again: calls travel in groups. */
const REFILL = 1 / 4

export function startLibrarySession(options: LibrarySessionOptions): LibrarySession {
  const { taskQueue, blobs, partSender, memoryLimit, setupLimitMs, log } = options
  const context = options.setup.context.id
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

  function feed() {
    if (phase !== 'ready') return
    const tasks = nextTasks()
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
      finishTask(taskQueue, task, { status: 'error', error: toTaskError(error) }, 0)
      options.onTaskChange()
      closeIfDone()
    }
  }

  /** Lets the blobs of calls go that are in the library no more. */
  function release(calls: Iterable<InFlightCall>) {
    for (const { task, supplied } of calls) if (supplied) blobs.letGo(task.blobs!)
  }

  /** Has the manager have the blobs of a value before it hears of the value. */
  async function deliver(
    task: LeasedTask,
    result: CallResult,
    ms: number,
    more: Pick<TaskResult, 'log' | 'blobs'>,
  ) {
    try {
      await blobs.send(result.blobs!)
      finishTask(taskQueue, task, outcomeOf(result), ms, more)
    } catch (error) {
      finishTask(taskQueue, task, { status: 'error', error: toTaskError(error) }, ms, logOf(result.log))
    }
    options.onTaskChange()
  }

  function nextTasks(): LeasedTask[] {
    const calls = inFlight.calls.size
    if (isAlone(inFlight) || !options.isTurn()) return []
    if (waitsAlone(taskQueue, context)) return calls === 0 ? takeAlone(taskQueue, context) : []
    const window = options.window()
    return window - calls < window * REFILL ? [] : takeTogether(taskQueue, context, window - calls)
  }

  async function receive(message: FromLibrary) {
    switch (message.type) {
      case 'ready':
        return becomeReady(message.level)
      case 'failed':
        cause = explainSetupError(message.error, toMib(memoryLimit))
        return library.close()
      case 'begun':
        for (const call of markBegun(inFlight, message.ids, performance.now())) limits.set(timeLimitOf(call))
        return
      case 'progress':
        // The next exchange may be far away; it is not while there is progress.
        if (noteProgress(inFlight, message.calls)) options.onTaskChange()
        return
      case 'parts':
        for (const { id, n, part } of message.parts) {
          const task = inFlight.calls.get(id)?.task
          if (task) partSender.send({ task: task.task, lease: task.lease, n, part })
        }
        return
      case 'ended':
        settle(message.calls, message.ms / Math.max(1, message.calls.length))
        closeIfDone()
        return feed()
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
    options.onReady(level, memory)
    options.onUsage(usage)
    feed()
  }

  function settle(results: CallResult[], ms: number) {
    const now = performance.now()
    const ended = takeEnded(inFlight, results)
    release(ended.map(({ call }) => call))
    for (const { call, result } of ended) {
      if (result.blobs) void deliver(call.task, result, ms, { ...logOf(result.log), blobs: result.blobs })
      else
        finishTask(
          taskQueue,
          call.task,
          timeLimitOutcome(call, result.error) ?? outcomeOf(result),
          ms,
          logOf(result.log),
        )
    }
    const done = ended.filter(({ result }) => 'value' in result)
    const longestMs = done.reduce((most, { call }) => Math.max(most, now - (call.begunAt ?? now)), 0)
    options.onEnded(done.length, now - busySince, longestMs)
    busySince = now
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
    if (phase === 'setup' || phase === 'ready') options.onUsage(usage)
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
    for (const { call, outcome, ms, log } of ended) finishTask(taskQueue, call.task, outcome, ms, logOf(log))
    putBack(
      taskQueue,
      spared.map(({ task }) => task),
    )
    log.debug({ context, end }, 'the library has ended')
    return end
  }

  return {
    feed,
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
      for (const { task } of calls) closeTask(taskQueue, task)
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
