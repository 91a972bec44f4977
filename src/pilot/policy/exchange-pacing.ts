/*
 * When to exchange with the manager next. Results go back in groups: often enough that an eviction loses little and no
 * slot runs dry, rarely enough that thousands of workers do not drown one manager.
 */

export interface ExchangeMoment {
  now: number
  /** When the last request was sent, on the same clock. */
  sentAt: number
  /** What {@link paceAfter} said when it was sent. */
  pace: number
  /** Since when there are results or news that the manager does not have; absent if none. */
  unreportedSince?: number | undefined
  /** Tasks finished per second. */
  rate: number
  /** There is room in a library that no task in hand fills, or nothing in hand at all. */
  starving: boolean
  /** A context is on its way up, or a task says how far it is: progress is of interest. */
  warming: boolean
}

export interface ExchangePlan {
  /** When to send, on the clock of the moment. */
  at: number
  /** How long the manager may hold the answer back, milliseconds. */
  waitMs: number
}

/** Requests are not closer than this on average, milliseconds; after a pause so many may follow each other at once. */
const SHORTEST_GAP_MS = 20
const BURST = 4

/** A result waits for others this long at most, milliseconds, or until about so many have come together. */
const LONGEST_GROUPING_MS = 150
const GROUP = 300

/** How long an idle worker's request stays open, milliseconds. */
const POLL_MS = 20_000

/** A busy worker is heard from at least this often, milliseconds: so long may it take to learn that a task is cancelled. */
const HEARTBEAT_MS = 5_000

/** The same while there is progress to be told of. */
const PROGRESS_MS = 1_000

/**
 * @param workerTimeoutMs silence after which the manager gives the worker up
 */
export function nextExchange(moment: ExchangeMoment, workerTimeoutMs: number): ExchangePlan {
  const { now, sentAt, pace, unreportedSince, rate, starving, warming } = moment
  const soonest = pace - (BURST - 1) * SHORTEST_GAP_MS
  const longestMs = Math.min(warming ? PROGRESS_MS : POLL_MS, workerTimeoutMs / 3)
  if (unreportedSince !== undefined) {
    const at = starving ? unreportedSince : unreportedSince + groupingMs(rate)
    return { at: Math.max(at, soonest), waitMs: 0 }
  }
  if (starving) return { at: Math.max(now, soonest), waitMs: Math.floor(longestMs) }
  return { at: sentAt + Math.min(HEARTBEAT_MS, longestMs), waitMs: 0 }
}

/** When the next request would be due if all were evenly apart, on the clock of the moment. @param pace that of the one before */
export function paceAfter(pace: number, sentAt: number): number {
  return Math.max(pace, sentAt) + SHORTEST_GAP_MS
}

function groupingMs(rate: number): number {
  return Math.min(LONGEST_GROUPING_MS, (GROUP / Math.max(rate, 1)) * 1000)
}
