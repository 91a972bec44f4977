import type { FromLibrary } from '../protocol/library.ts'
import type { Progress } from '../protocol/task.ts'
import type { HeldTask } from './hand.ts'

/* The calls inside one library: sent, then begun, then ended. Plain functions over plain state; the clock comes in. */

export interface Call {
  readonly id: number
  readonly task: HeldTask
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

export interface Flight {
  calls: Map<number, Call>
  nextId: number
}

export type Ended = Extract<FromLibrary, { type: 'ended' }>['calls'][number]

export function emptyFlight(): Flight {
  return { calls: new Map(), nextId: 1 }
}

/** Notes tasks as sent, each as a call with its own number. */
export function launch(flight: Flight, tasks: readonly HeldTask[]): Call[] {
  return tasks.map((task) => {
    const call: Call = { id: flight.nextId++, task }
    flight.calls.set(call.id, call)
    return call
  })
}

/** Notes calls as begun, and returns them. Ids it does not know are of calls that were forgotten meanwhile. */
export function begin(flight: Flight, ids: readonly number[], now: number): Call[] {
  const begun = known(flight, ids)
  for (const call of begun) call.begunAt ??= now
  return begun
}

/** Takes out calls that ended, each with what the library said of it. */
export function end(flight: Flight, results: readonly Ended[]): { call: Call; result: Ended }[] {
  return results.flatMap((result) => {
    const call = flight.calls.get(result.id)
    return call && flight.calls.delete(call.id) ? [{ call, result }] : []
  })
}

/** Notes how far calls are; true if one of them says so for the first time. */
export function note(flight: Flight, reports: readonly ({ id: number } & Progress)[]): boolean {
  let isFirst = false
  for (const { id, ...progress } of reports) {
    const call = flight.calls.get(id)
    if (!call) continue
    isFirst ||= call.progress === undefined
    call.progress = progress
  }
  return isFirst
}

/** How far tasks are that have said so. */
export function reportsOf(flight: Flight): ({ task: number } & Progress)[] {
  return [...flight.calls.values()].flatMap(({ task, progress }) =>
    progress ? [{ task: task.task, ...progress }] : [],
  )
}

/** Takes out calls of such tasks that have not begun. */
export function recall(flight: Flight, isGone: (task: HeldTask) => boolean): Call[] {
  const recalled = [...flight.calls.values()].filter((c) => c.begunAt === undefined && isGone(c.task))
  for (const { id } of recalled) flight.calls.delete(id)
  return recalled
}

/** Notes that nobody needs such calls that have begun; they should end by that time. */
export function abandon(flight: Flight, isUnwanted: (task: HeldTask) => boolean, endBy: number): void {
  for (const call of flight.calls.values())
    if (call.begunAt !== undefined && isUnwanted(call.task)) call.endBy ??= endBy
}

/** Cancelled calls that should have ended, if nothing else runs beside them; and when to look again, if some may yet. */
export function stuckIn(flight: Flight, now: number): { stuck: Call[]; next: number } {
  const begun = [...flight.calls.values()].filter(({ begunAt }) => begunAt !== undefined)
  const latest = begun.reduce((latest, { endBy = Infinity }) => Math.max(latest, endBy), 0)
  const next = Math.min(...begun.map(({ endBy = Infinity }) => endBy))
  return latest <= now ? { stuck: begun, next } : { stuck: [], next }
}

/** When a call must have ended; never, if it has no limit or has not begun. */
export function limitOf({ task, begunAt }: Call): number {
  return begunAt === undefined ? Infinity : begunAt + (task.timeLimitMs ?? Infinity)
}

/** Whether the one call inside must have the library for itself. */
export function isAlone(flight: Flight): boolean {
  const [first] = flight.calls.values()
  return first?.task.alone ?? false
}

function known(flight: Flight, ids: readonly number[]): Call[] {
  return ids.flatMap((id) => flight.calls.get(id) ?? [])
}
