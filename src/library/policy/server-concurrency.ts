/*
 * How many requests a server is sent at once, found by measurement: more for as long as it answers more in the same time,
 * fewer as soon as it turns some away. Pure: what was seen in, the next limit out.
 */

export interface ConcurrencyState {
  /** Most requests at once. */
  readonly limit: number
  /** What is being found out: whether more is faster (`growing`), or nothing for a while (`steady`). */
  readonly phase: 'growing' | 'steady'
  /** The best that was seen before, and at which limit. */
  readonly best: { readonly limit: number; readonly rate: number } | undefined
  /** Periods left until more is tried again. */
  readonly rest: number
}

/** What was seen of a server while a limit held. */
export interface Period {
  /** Answers. */
  readonly answered: number
  readonly seconds: number
  /** Requests it turned away (429, 503) or did not answer in time. */
  readonly refused: number
  /** Whether there was always as much to send as the limit allows; otherwise the limit was not put to the test. */
  readonly full: boolean
}

export const FIRST_LIMIT = 4
export const MOST = 256
/** Answers worth comparing, for each request that is let through at once. */
export const ANSWERS_EACH = 3

const GROW = 1.5
const SHRINK = 0.7
/** So much faster counts as faster; less may be chance. */
const FASTER = 1.05
/** Periods until it is tried again whether more has become faster: other requests may be longer or shorter. */
const REST = 20
/** The same after the server turned requests away. */
const REST_REFUSED = 60

export function firstState(limit = FIRST_LIMIT): ConcurrencyState {
  return { limit, phase: 'growing', best: undefined, rest: 0 }
}

/** The limit for the next period. */
export function nextState(state: ConcurrencyState, period: Period): ConcurrencyState {
  const { limit, phase, best, rest } = state
  if (period.refused > 0) {
    const fewer = Math.max(1, Math.floor(limit * SHRINK))
    return { limit: fewer, phase: 'steady', best: undefined, rest: REST_REFUSED }
  }
  if (!period.full || period.seconds <= 0) return state
  const rate = period.answered / period.seconds
  if (phase === 'steady') {
    if (rest > 1) return { ...state, rest: rest - 1 }
    return grow({ limit, rate })
  }
  if (best === undefined || rate >= best.rate * FASTER) return grow({ limit, rate })
  return { limit: best.limit, phase: 'steady', best, rest: REST }
}

function grow(best: { limit: number; rate: number }): ConcurrencyState {
  const limit = Math.min(MOST, Math.ceil(best.limit * GROW))
  const phase = limit > best.limit ? 'growing' : 'steady'
  return { limit, phase, best, rest: phase === 'steady' ? REST : 0 }
}
