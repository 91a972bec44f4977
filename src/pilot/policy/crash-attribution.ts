import type { Outcome, TaskError } from '../../protocol/task.ts'
import type { InFlightCall } from '../tasks/in-flight-calls.ts'
import type { Exit } from '../library/library-process.ts'

/* What becomes of a library's calls, and what it says about the library, once its process has ended. */

/** How far a library had come. `stopped`: it was ended with everything it had. */
export type LibraryPhase = 'setup' | 'ready' | 'retiring' | 'stopped'

/** How a library's life ended. */
export type SessionEnd =
  /** It was told to end. */
  | { how: 'retired' }
  /** Its setup failed. */
  | { how: 'unready'; error: TaskError }
  /** It had to go, or went by itself. `idle`: with nothing that could be blamed for it; `starved`: for want of memory. */
  | { how: 'died'; idle: boolean; starved: boolean; error: TaskError }

export interface ProcessEnd {
  phase: LibraryPhase
  /** Why the worker ended it, if it did. */
  cause?: TaskError | undefined
  exit: Exit
  /** The node is being taken back. */
  evicted: boolean
  now: number
}

export interface CrashAttribution {
  end: SessionEnd
  /** Calls that ended with the library. */
  ended: { call: InFlightCall; outcome: Outcome; ms: number; log?: string }[]
  /** Calls that may run elsewhere. */
  spared: InFlightCall[]
}

/** The cause by which a library that has outgrown its memory is ended. */
export const MEMORY_LIMIT = 'MemoryLimit'

export function attributeCrash(death: ProcessEnd, calls: readonly InFlightCall[]): CrashAttribution {
  const { phase, cause, exit, evicted, now } = death
  // When the node is taken back, so is what runs on it; the batch system may have been there first.
  if (phase === 'stopped' || (evicted && exit.signal !== null)) {
    const ended = calls.map((call) => ({ call, outcome: { status: 'returned' } as const, ms: 0 }))
    return { end: { how: 'retired' }, ended, spared: [] }
  }
  const error = cause ?? crashError(exit)
  const blamed = blame(calls)
  // What a call printed before the end is known only to the library; what that wrote last is the next best.
  const log = exit.output === '' ? {} : { log: exit.output }
  const ended = blamed.map((call) => ({ call, outcome: crash(call, error), ms: now - call.begunAt!, ...log }))
  return { end: endOf(death, error, blamed), ended, spared: calls.filter((call) => !blamed.includes(call)) }
}

/** Those that met their time limit if any did, or else all that had begun. */
function blame(calls: readonly InFlightCall[]): readonly InFlightCall[] {
  const hung = calls.filter((call) => call.overdue)
  return hung.length > 0 ? hung : calls.filter((call) => call.begunAt !== undefined)
}

function endOf(
  { phase, cause, exit }: ProcessEnd,
  error: TaskError,
  blamed: readonly InFlightCall[],
): SessionEnd {
  if (phase === 'setup') return { how: 'unready', error }
  if (phase === 'retiring' && !cause) return { how: 'retired' }
  const outgrown = cause?.name === MEMORY_LIMIT
  const starved = outgrown || (!cause && shortOfMemory(exit) !== '')
  return { how: 'died', idle: blamed.length === 0 && !outgrown, starved, error }
}

/** What becomes of a call that its library has ended at its time limit; undefined if it has ended in another way. */
export function timeLimitOutcome(call: InFlightCall, error: TaskError | undefined): Outcome | undefined {
  if (!call.overdue || call.endBy !== undefined || error?.name !== 'CancelledError') return undefined
  const message = `still running after ${call.task.timeLimitMs} ms, its time limit: it was ended`
  return { status: 'crash', error: { name: 'TimeLimit', message } }
}

function crash({ task, overdue, endBy }: InFlightCall, error: TaskError): Outcome {
  if (!overdue) return { status: 'crash', error }
  const after = endBy === undefined ? `${task.timeLimitMs} ms, its time limit` : 'it was cancelled'
  const message = `still running after ${after}: its library was ended`
  return { status: 'crash', error: { name: 'TimeLimit', message } }
}

function crashError(exit: Exit): TaskError {
  const { code, signal, stderr, error } = exit
  const reason = signal ? `was killed by ${signal}` : `exited with code ${code}`
  const message = error
    ? `its library could not be started: ${error.message}`
    : `its library ${reason}${shortOfMemory(exit)}`
  return { name: 'LibraryCrash', message, ...(stderr && { stack: stderr }) }
}

/** What a process says, or what it dies of, for want of memory. A kill that the worker did not order is most likely the kernel's. */
function shortOfMemory({ signal, stderr }: Exit): string {
  const said = OUT_OF_MEMORY.test(stderr)
  if (!said && signal !== 'SIGKILL') return ''
  return `${said ? ', out of memory' : ', as systems do that are out of memory'}: ask for pilots with more memory`
}

/** Why a setup failed; if for want of memory, in words that name no files of ours but what there is to do. */
export function explainSetupError(error: TaskError, slotMib: number): TaskError {
  if (!OUT_OF_MEMORY.test(error.message)) return error
  const what = `the context needs more memory than there is; its slot has ${slotMib} MiB: ask for pilots with more memory`
  return { ...error, message: `${what} (${error.message})` }
}

/** The words of Node, Python, C++ libraries and the dynamic linker. */
const OUT_OF_MEMORY =
  /heap out of memory|Fatal process out of memory|MemoryError|std::bad_alloc|Cannot allocate memory|ENOMEM|failed to allocate memory|failed to map segment/i
