import type { SlotTime } from '../protocol/events.ts'

/*
 * Where the time of slots goes. Each worker has an account; what it says and what it has in hand opens its books on an interval,
 * which is entered when the next one begins. Time with tasks in hand counts as inference once results have come, and as lost if
 * the worker is gone before. Times are milliseconds; slot time is elapsed time times slots.
 */

/** What the slots of one worker do. */
export interface SlotUse {
  fetching: number
  loading: number
  working: number
  idle: number
}

export interface SlotAccount {
  readonly slots: number
  /** Totals that it adds to; workers of one kind share them. */
  readonly spent: SlotTime
  /** Up to here it is entered. */
  at: number
  use: SlotUse
  /** Time with tasks in hand since the last results. */
  open: number
}

/** What a worker says of a context that it holds or brings up. */
export interface ContextUse {
  level: string
  doing?: 'fetching' | 'loading' | undefined
}

export const noSlotTime = (): SlotTime => ({ boot: 0, fetch: 0, load: 0, inference: 0, idle: 0, lost: 0 })

/** @param bootMs time from the start of the pilot to now */
export function openAccount(slots: number, spent: SlotTime, bootMs: number, now: number): SlotAccount {
  spent.boot += bootMs * slots
  return { slots, spent, at: now, use: slotUse(slots, [], 0), open: 0 }
}

/** What a worker's slots do: they work if they have tasks, and a context to run them in. */
export function slotUse(slots: number, contexts: readonly ContextUse[], inHand: number): SlotUse {
  const isLoaded = contexts.some(({ level }) => level === 'memory' || level === 'device')
  const isDoing = (what: ContextUse['doing']) => !isLoaded && contexts.some(({ doing }) => doing === what)
  const none = { fetching: 0, loading: 0, working: 0, idle: 0 }
  if (isDoing('loading')) return { ...none, loading: slots }
  if (isDoing('fetching')) return { ...none, fetching: slots }
  const working = Math.min(slots, inHand)
  return { ...none, working, idle: slots - working }
}

/** Enters what went by, and notes what the slots do from now on. A clock that went back makes nothing of it. */
export function enter(account: SlotAccount, use: SlotUse, now: number): void {
  const ms = Math.max(0, now - account.at)
  const { fetching, loading, working, idle } = account.use
  account.spent.fetch += ms * fetching
  account.spent.load += ms * loading
  account.spent.idle += ms * idle
  account.open += ms * working
  account.at = now
  account.use = use
}

/** Results came: what was done for them was not in vain. */
export function settle(account: SlotAccount): void {
  account.spent.inference += account.open
  account.open = 0
}

/**
 * The worker is gone since `now`.
 * @returns the slot time that is lost with it
 */
export function closeAccount(account: SlotAccount, now: number): number {
  enter(account, slotUse(account.slots, [], 0), now)
  const lost = account.open
  account.spent.lost += lost
  account.open = 0
  return lost
}
