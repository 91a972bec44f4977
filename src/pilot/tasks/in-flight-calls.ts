import type { FromLibrary } from '../../protocol/library.ts'
import type { Progress } from '../../protocol/task.ts'
import type { LeasedTask } from './task-queue.ts'

/* The calls inside one library: sent, then begun, then ended. Plain functions over plain state; the clock comes in. */

export interface InFlightCall {
  readonly id: number
  readonly task: LeasedTask
  /** Absent while it waits in the library's own queue. */
  begunAt?: number
  /** It met its time limit. */
  overdue?: boolean
  /** It was cancelled after it had begun; it may go on until then. */
  endBy?: number
  /** How far it says that it is. */
  progress?: Progress
  /** The blobs of its input are here, and stay until they are let go. */
  supplied?: boolean
}

export interface InFlightCalls {
  calls: Map<number, InFlightCall>
  nextId: number
}

export type CallResult = Extract<FromLibrary, { type: 'ended' }>['calls'][number]

export function noCallsInFlight(): InFlightCalls {
  return { calls: new Map(), nextId: 1 }
}

/** Notes tasks as sent, each as a call with its own number. */
export function addCalls(inFlight: InFlightCalls, tasks: readonly LeasedTask[]): InFlightCall[] {
  return tasks.map((task) => {
    const call: InFlightCall = { id: inFlight.nextId++, task }
    inFlight.calls.set(call.id, call)
    return call
  })
}

/** Notes calls as begun, and returns them. Ids it does not know are of calls that were forgotten meanwhile. */
export function markBegun(inFlight: InFlightCalls, ids: readonly number[], now: number): InFlightCall[] {
  const begun = known(inFlight, ids)
  for (const call of begun) call.begunAt ??= now
  return begun
}

/** Takes out calls that ended, each with what the library said of it. */
export function takeEnded(
  inFlight: InFlightCalls,
  results: readonly CallResult[],
): { call: InFlightCall; result: CallResult }[] {
  return results.flatMap((result) => {
    const call = inFlight.calls.get(result.id)
    return call && inFlight.calls.delete(call.id) ? [{ call, result }] : []
  })
}

/** Notes how far calls are; true if one of them says so for the first time. */
export function noteProgress(
  inFlight: InFlightCalls,
  reports: readonly ({ id: number } & Progress)[],
): boolean {
  let isFirst = false
  for (const { id, ...progress } of reports) {
    const call = inFlight.calls.get(id)
    if (!call) continue
    isFirst ||= call.progress === undefined
    call.progress = progress
  }
  return isFirst
}

/** How far tasks are that have said so. */
export function progressOf(inFlight: InFlightCalls): ({ task: number } & Progress)[] {
  return [...inFlight.calls.values()].flatMap(({ task, progress }) =>
    progress ? [{ task: task.task, ...progress }] : [],
  )
}

/** Takes out calls of such tasks that have not begun. */
export function withdrawWaiting(
  inFlight: InFlightCalls,
  isGone: (task: LeasedTask) => boolean,
): InFlightCall[] {
  const recalled = [...inFlight.calls.values()].filter((c) => c.begunAt === undefined && isGone(c.task))
  for (const { id } of recalled) inFlight.calls.delete(id)
  return recalled
}

/** Notes that such calls, which have begun, are no longer needed; they should end by that time. */
export function markUnwanted(
  inFlight: InFlightCalls,
  isUnwanted: (task: LeasedTask) => boolean,
  endBy: number,
): void {
  for (const call of inFlight.calls.values())
    if (call.begunAt !== undefined && isUnwanted(call.task)) call.endBy ??= endBy
}

/** Cancelled calls that should have ended, if nothing else runs beside them; and when to look again, if some may yet. */
export function stuckCalls(inFlight: InFlightCalls, now: number): { stuck: InFlightCall[]; next: number } {
  const begun = [...inFlight.calls.values()].filter(({ begunAt }) => begunAt !== undefined)
  const latest = begun.reduce((latest, { endBy = Infinity }) => Math.max(latest, endBy), 0)
  const next = Math.min(...begun.map(({ endBy = Infinity }) => endBy))
  return latest <= now ? { stuck: begun, next } : { stuck: [], next }
}

/** When a call must have ended; never, if it has no limit or has not begun. */
export function timeLimitOf({ task, begunAt }: InFlightCall): number {
  return begunAt === undefined ? Infinity : begunAt + (task.timeLimitMs ?? Infinity)
}

/** Whether the one call inside must have the library for itself. */
export function isAlone(inFlight: InFlightCalls): boolean {
  const [first] = inFlight.calls.values()
  return first?.task.alone ?? false
}

function known(inFlight: InFlightCalls, ids: readonly number[]): InFlightCall[] {
  return ids.flatMap((id) => inFlight.calls.get(id) ?? [])
}
