/*
 * When to exchange with the manager next. Results go back in groups: often enough that an eviction loses little and no
 * slot runs dry, rarely enough that thousands of workers do not drown one manager.
 */

/** The last request that was sent. */
export interface LastRequest {
  /** When, on the clock of the moment. */
  readonly at: number
  /** When the next would be due if all were evenly apart. */
  readonly pace: number
  /** How long it may stay open for work, milliseconds. */
  readonly waitMs: number
  /** Results that it brought. */
  readonly results: number
}

/** That of a worker that has sent none. */
export const NO_REQUEST: LastRequest = { at: -Infinity, pace: -Infinity, waitMs: Infinity, results: 0 }

export interface ExchangeMoment {
  now: number
  last: LastRequest
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

/** Requests are not closer than this on average, milliseconds, but for those that wait for work behind results; after a pause so many may follow each other at once. */
const SHORTEST_GAP_MS = 20
const BURST = 4

/** A result waits for others this long at most, milliseconds, or until about so many have come together. */
const LONGEST_GROUPING_MS = 150
const GROUP = 300

/** So few results are those of callers that wait for each. */
const FEW = 2

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
  const { now, last, unreportedSince, rate, starving, warming } = moment
  const soonest = last.pace - (BURST - 1) * SHORTEST_GAP_MS
  const longestMs = Math.min(warming ? PROGRESS_MS : POLL_MS, workerTimeoutMs / 3)
  if (unreportedSince !== undefined) {
    const at = starving ? unreportedSince : unreportedSince + groupingMs(rate)
    return { at: Math.max(at, soonest), waitMs: 0 }
  }
  if (starving) return { at: isSecond(last) ? now : Math.max(now, soonest), waitMs: Math.floor(longestMs) }
  return { at: last.at + Math.min(HEARTBEAT_MS, longestMs), waitMs: 0 }
}

/**
 * The last request after another is sent, which may stay open for `waitMs` and brings so many results. One that waits for work right
 * behind one with few results counts as one with it.
 */
export function afterSending(
  last: LastRequest,
  now: number,
  { waitMs, results }: Pick<LastRequest, 'waitMs' | 'results'>,
): LastRequest {
  const counts = waitMs === 0 || !isSecond(last)
  return { at: now, pace: counts ? Math.max(last.pace, now) + SHORTEST_GAP_MS : last.pace, waitMs, results }
}

/** Who reads one of few results may well send the next task at once; of many callers' tasks more come together by waiting. */
const isSecond = ({ waitMs, results }: LastRequest) => waitMs === 0 && results <= FEW

/** When the last request, which is open, is given up because the next one is due; never while there is nothing to tell. */
export function givenUpAt(moment: ExchangeMoment, workerTimeoutMs: number): number {
  const { last, unreportedSince, warming } = moment
  if (unreportedSince !== undefined) return nextExchange(moment, workerTimeoutMs).at
  return warming && last.waitMs > PROGRESS_MS ? last.at + PROGRESS_MS : Infinity
}

function groupingMs(rate: number): number {
  return Math.min(LONGEST_GROUPING_MS, (GROUP / Math.max(rate, 1)) * 1000)
}
