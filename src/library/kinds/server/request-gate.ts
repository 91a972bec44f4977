import { setTimeout as delay } from 'node:timers/promises'
import {
  ANSWERS_EACH,
  type ConcurrencyState,
  firstState,
  MOST,
  nextState,
} from '../../policy/server-concurrency.ts'

/** Lets requests through, as many at once as a server is good for. */
export interface RequestGate {
  /** Most requests that may be under way or waiting here at once. */
  readonly lanes: number
  /** How many are let through at once at the moment. */
  readonly limit: number
  /** Resolves when one more request may be sent. */
  enter(): Promise<void>
  /** Sends a request, and again later for as long as the server is too busy for it; in the end that is its outcome. */
  retry<T>(send: () => Promise<T>, isBusy: (outcome: T) => boolean): Promise<T>
  /** The place of a request is free again; `unused` if none was sent after all. */
  leave(how: 'answered' | 'unused'): void
}

export interface GateOptions {
  /** The time in milliseconds, on any clock. */
  now?: () => number
  wait?: (ms: number) => Promise<unknown>
}

/** Shortest time after which answers are compared, milliseconds. */
const PERIOD_MS = 1_000
/** Waits before a request is sent again to a busy server, milliseconds: 0.1 s, then twice as long each time. */
const FIRST_WAIT_MS = 100
const RETRIES = 8

/** @param fixed how many requests at once, if that is set; otherwise it is found by measurement */
export function createRequestGate(
  fixed: number | undefined,
  { now = () => performance.now(), wait = delay }: GateOptions = {},
): RequestGate {
  let state: ConcurrencyState = firstState(fixed)
  let under = 0
  const waiting: (() => void)[] = []
  let period = { since: now(), answered: 0, refused: 0, full: true }

  function admit() {
    while (under < state.limit && waiting.length > 0) {
      under += 1
      waiting.shift()!()
    }
    if (waiting.length === 0 && under < state.limit) period.full = false
  }

  function measure() {
    const ms = now() - period.since
    const isDue = ms >= PERIOD_MS && period.answered >= ANSWERS_EACH * state.limit
    if (fixed !== undefined || (period.refused === 0 && !isDue)) return
    const before = state.limit
    state = nextState(state, { ...period, seconds: ms / 1000 })
    period = { since: now(), answered: 0, refused: 0, full: true }
    if (state.limit !== before) process.stderr.write(`library: up to ${state.limit} requests at once\n`)
  }

  return {
    lanes: fixed ?? MOST,
    get limit() {
      return state.limit
    },
    enter: () =>
      new Promise((resolve) => {
        waiting.push(resolve)
        admit()
      }),
    async retry(send, isBusy) {
      for (let tries = 0; ; tries++) {
        const outcome = await send()
        if (!isBusy(outcome) || tries === RETRIES) return outcome
        period.refused += 1
        measure()
        await wait(FIRST_WAIT_MS * 2 ** tries)
      }
    },
    leave(how) {
      under -= 1
      if (how === 'answered') period.answered += 1
      measure()
      admit()
    },
  }
}
