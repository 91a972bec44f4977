import type { Level } from '../protocol/context.ts'
import type { FromLibrary } from '../protocol/library.ts'
import type { Outcome, TaskError } from '../protocol/task.ts'
import {
  abandon,
  begin,
  type Call,
  emptyFlight,
  end,
  type Ended,
  isAlone,
  launch,
  limitOf,
  recall,
} from './flight.ts'
import {
  close,
  finish,
  type Hand,
  type HeldTask,
  putBack,
  takeAlone,
  takeTogether,
  waitsAlone,
} from './hand.ts'
import { type Exit, type LibraryOptions, startLibrary } from './library-process.ts'

/** One library's life, from its setup to its end, whichever way that comes. */
export interface Life {
  /** Gives it calls from the hand, if it has room for any. */
  feed(): void
  /** Forgets calls that have not begun and are nobody's business any more. */
  forget(isGone: (task: HeldTask) => boolean): void
  /** Lets it end what it has, and no more. */
  retire(): void
  /** Ends it now; its calls go back to the manager. */
  stop(): void
  /** Calls it has. */
  readonly calls: number
  readonly over: Promise<LifeEnd>
}

/** How a library's life ended. */
export type LifeEnd =
  /** It was told to. */
  | { how: 'retired' }
  /** Its setup failed. */
  | { how: 'unready'; error: TaskError }
  /** It had to go, or went by itself. `idle`: with no call begun that could be blamed. */
  | { how: 'died'; idle: boolean; error: TaskError }

export interface LifeOptions extends LibraryOptions {
  hand: Hand
  /** How many calls it should have. */
  window(): number
  /** Longest its setup may take, milliseconds. */
  setupLimitMs: number
  /** Aborts when the batch system takes the node back. */
  evicted: AbortSignal
  onReady(level: Level, memory: number): void
  /** Calls ended: how many, in what time since the last ones, and how long the longest took; milliseconds. */
  onEnded(calls: number, busyMs: number, longestMs: number): void
}

const MEMORY_CHECK_MS = 1_000

/** A window's part that must be free before it is filled up again: calls travel in groups. */
const REFILL = 1 / 4

export function beginLife(options: LifeOptions): Life {
  const { hand, setup, memoryLimit, log } = options
  const context = setup.context.id
  const library = startLibrary(options)
  const flight = emptyFlight()
  let phase: 'setup' | 'ready' | 'retiring' | 'stopped' = 'setup'
  let cause: TaskError | undefined
  let busySince = 0
  let limit: { at: number; timer: NodeJS.Timeout | undefined } = { at: Infinity, timer: undefined }
  const setupTimer = setTimeout(() => {
    kill('SetupTimeLimit', `setup was not done after ${options.setupLimitMs / 1000} s, its time limit`)
  }, options.setupLimitMs)
  const memoryTimer = setInterval(() => void checkMemory(), MEMORY_CHECK_MS)

  function kill(name: string, message: string) {
    cause ??= { name, message }
    library.kill()
  }

  async function checkMemory() {
    if (phase !== 'ready') return
    const bytes = await library.memory()
    if (bytes <= memoryLimit) return
    log.warn(
      { context, mib: toMib(bytes), limitMib: toMib(memoryLimit) },
      'the library is over its memory: restarting it',
    )
    cause = { name: 'MemoryLimit', message: `it used ${toMib(bytes)} MiB of ${toMib(memoryLimit)}` }
    retire()
  }

  function retire() {
    if (phase === 'setup') stop()
    else if (phase === 'ready') phase = 'retiring'
    closeIfDone()
  }

  function stop() {
    phase = 'stopped'
    library.kill()
  }

  function closeIfDone() {
    if (phase === 'retiring' && flight.calls.size === 0) library.close()
  }

  function feed() {
    if (phase !== 'ready' || isAlone(flight)) return
    const now = performance.now()
    const calls = flight.calls.size
    if (calls === 0) busySince = now
    for (const tasks of runs(nextTasks(calls))) {
      library.call(tasks[0]!.function, launch(flight, tasks))
    }
  }

  function nextTasks(calls: number): HeldTask[] {
    if (waitsAlone(hand, context)) {
      const task = calls === 0 ? takeAlone(hand, context) : undefined
      return task ? [task] : []
    }
    const window = options.window()
    return window - calls < window * REFILL ? [] : takeTogether(hand, context, window - calls)
  }

  async function receive(message: FromLibrary) {
    switch (message.type) {
      case 'ready':
        return becomeReady(message.level)
      case 'failed':
        cause = message.error
        return library.close()
      case 'begun':
        return watchLimits(begin(flight, message.ids, performance.now()))
      case 'ended':
        settle(message.calls, message.ms / Math.max(1, message.calls.length))
        closeIfDone()
        return feed()
    }
  }

  async function becomeReady(level: Level) {
    clearTimeout(setupTimer)
    const memory = await library.memory()
    if (memory > memoryLimit) {
      const message = `the loaded context takes ${toMib(memory)} MiB, and its slot has ${toMib(memoryLimit)}: ask for pilots with more memory`
      return kill('MemoryLimit', message)
    }
    if (phase !== 'setup') return
    phase = 'ready'
    options.onReady(level, memory)
    feed()
  }

  function settle(calls: Ended[], ms: number) {
    const now = performance.now()
    const ended = end(flight, calls)
    for (const { call, result } of ended) finish(hand, call.task, outcomeOf(result), ms)
    const longest = ended.reduce((most, { call }) => Math.max(most, now - (call.begunAt ?? now)), 0)
    const busyMs = now - busySince
    busySince = now
    options.onEnded(ended.length, busyMs, longest)
  }

  function watchLimits(begun: readonly Call[]) {
    const at = begun.reduce((first, call) => Math.min(first, limitOf(call)), Infinity)
    if (at >= limit.at) return
    clearTimeout(limit.timer)
    limit = { at, timer: setTimeout(checkLimits, at - performance.now()) }
  }

  function checkLimits() {
    limit = { at: Infinity, timer: undefined }
    const now = performance.now()
    const calls = [...flight.calls.values()]
    if (calls.some((call) => limitOf(call) <= now)) {
      for (const call of calls) if (limitOf(call) <= now) call.overdue = true
      kill('TimeLimit', 'a call met its time limit')
    } else watchLimits(calls)
  }

  async function live(): Promise<LifeEnd> {
    try {
      for await (const message of library.messages) await receive(message)
    } catch (error) {
      kill('ProtocolError', (error as Error).message)
    }
    clearTimeout(setupTimer)
    clearInterval(memoryTimer)
    clearTimeout(limit.timer)
    library.close()
    return conclude(await library.exited)
  }

  function conclude(exit: Exit): LifeEnd {
    const { begun, waiting } = abandon(flight)
    const error = cause ?? crashError(exit)
    // When the node is taken back, so is what runs on it; the batch system may have been first.
    if (phase === 'stopped' || (options.evicted.aborted && exit.signal !== null)) {
      for (const { task } of [...begun, ...waiting]) finish(hand, task, { status: 'returned' }, 0)
      return { how: 'retired' }
    }
    const hung = begun.some((call) => call.overdue)
    const blamed = hung ? begun.filter((call) => call.overdue) : begun
    const spared = hung ? begun.filter((call) => !call.overdue) : []
    for (const call of blamed) {
      const ms = performance.now() - call.begunAt!
      finish(hand, call.task, { status: 'crash', error: call.overdue ? timeLimitError(call) : error }, ms)
    }
    putBack(
      hand,
      [...spared, ...waiting].map(({ task }) => task),
    )
    if (phase === 'setup') return { how: 'unready', error }
    if (phase === 'retiring' && !cause) return { how: 'retired' }
    return { how: 'died', idle: blamed.length === 0 && cause?.name !== 'MemoryLimit', error }
  }

  return {
    feed,
    forget(isGone) {
      const calls = recall(flight, isGone)
      if (calls.length > 0) library.cancel(calls.map(({ id }) => id))
      for (const { task } of calls) close(hand, task)
      closeIfDone()
    },
    retire,
    stop,
    get calls() {
      return flight.calls.size
    },
    over: live(),
  }
}

/** Stretches of tasks with the same function. */
function* runs(tasks: HeldTask[]): Generator<HeldTask[]> {
  let start = 0
  for (let i = 1; i <= tasks.length; i++) {
    if (i < tasks.length && tasks[i]!.function === tasks[start]!.function) continue
    yield tasks.slice(start, i)
    start = i
  }
}

function outcomeOf({ value = null, error }: Ended): Outcome {
  return error ? { status: 'error', error } : { status: 'done', value }
}

function timeLimitError({ task }: Call): TaskError {
  return {
    name: 'TimeLimit',
    message: `still running after ${task.timeLimitMs} ms, its time limit: its library was ended`,
  }
}

function crashError({ code, signal, stderr, error }: Exit): TaskError {
  const reason = signal ? `was killed by ${signal}` : `exited with code ${code}`
  const message = error ? `its library could not be started: ${error.message}` : `its library ${reason}`
  return { name: 'LibraryCrash', message, ...(stderr && { stack: stderr }) }
}

function toMib(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
