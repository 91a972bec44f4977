import type { Call } from './library-kind.ts'

/** Calls of one function that may run together. */
export interface Window {
  name: string
  calls: Call[]
}

/** Calls that wait for their turn, by function. A call waits until it is claimed, so it can be forgotten until then. */
export interface CallQueue {
  /** Calls that wait, those taken but not yet claimed included. */
  readonly size: number
  add(name: string, calls: readonly Call[]): void
  /** Takes back calls that still wait; ids of others are ignored. */
  forget(ids: Iterable<number>): void
  clear(): void
  /** Up to `max` calls of the function whose turn it is: functions take turns, the calls of each keep their order. */
  take(max: number): Window | undefined
  /** Those of `calls` that still wait. They do no longer. */
  claim(calls: readonly Call[]): Call[]
}

export function createQueue(): CallQueue {
  const waiting = new Set<number>()
  // A Map keeps the order of insertion, which is the order of turns. Lists may hold forgotten calls: `waiting` decides.
  const turns = new Map<string, Call[]>()
  return {
    get size() {
      return waiting.size
    },
    add(name, calls) {
      const list = turns.get(name)
      if (list) for (const call of calls) list.push(call)
      else turns.set(name, [...calls])
      for (const call of calls) waiting.add(call.id)
    },
    forget(ids) {
      for (const id of ids) waiting.delete(id)
    },
    clear() {
      waiting.clear()
      turns.clear()
    },
    take(max) {
      for (const [name, calls] of turns) {
        turns.delete(name)
        if (calls.length > max) turns.set(name, calls.slice(max))
        if (calls.length > 0) return { name, calls: calls.slice(0, max) }
      }
      return undefined
    },
    claim: (calls) => calls.filter((call) => waiting.delete(call.id)),
  }
}
