import type { ExchangeRequest, ExchangeResponse } from '../../protocol/worker.ts'
import type { WakeUp } from '../../common/wake-up.ts'
import {
  afterSending,
  type ExchangeMoment,
  givenUpAt,
  type LastRequest,
  nextExchange,
  NO_REQUEST,
} from '../policy/exchange-pacing.ts'

/** The worker as the exchange loop sees it. */
export interface ExchangeParty {
  /** What bears on when to exchange next. */
  moment(): Omit<ExchangeMoment, 'last'>
  /** What the manager is to be told now. */
  compose(waitMs: number): Omit<ExchangeRequest, 'seq'>
  /** Takes in the answer to what was composed last. */
  apply(answer: ExchangeResponse): void
  /** Nothing is left to be said or heard. */
  isOver(): boolean
}

export interface ExchangeOptions {
  party: ExchangeParty
  /** Sends one request until it is answered. */
  send: (request: ExchangeRequest, signal: AbortSignal) => Promise<ExchangeResponse>
  /** Rings whenever the moment has changed. */
  wakeUp: WakeUp
  /** Silence after which the manager gives the worker up, milliseconds. */
  workerTimeoutMs: number
  signal: AbortSignal
}

/**
 * Exchanges with the manager, one request at a time, until the party says it is over.
 *
 * @throws what `send` throws, and the signal's reason
 */
export async function exchangeUntilOver(options: ExchangeOptions): Promise<void> {
  const { party, send, wakeUp, workerTimeoutMs, signal } = options
  let last = NO_REQUEST
  for (let seq = 0; !party.isOver();) {
    signal.throwIfAborted()
    const moment = { ...party.moment(), last }
    const { at, waitMs } = nextExchange(moment, workerTimeoutMs)
    if (at > moment.now) {
      await wakeUp.wait(at - moment.now)
      continue
    }
    const request = { seq: seq++, ...party.compose(waitMs) }
    last = afterSending(last, moment.now, { waitMs, results: request.results.length })
    const answer = await (waitMs === 0 ? send(request, signal) : poll(request, last, options))
    if (answer) party.apply(answer)
  }
}

/**
 * Leaves a request open until it is answered or there is news to tell, whichever comes first. It carries no results, so
 * nothing is lost with it; tasks in an answer that crossed with the news go back by themselves.
 */
async function poll(
  request: ExchangeRequest,
  last: LastRequest,
  options: ExchangeOptions,
): Promise<ExchangeResponse | undefined> {
  const { send, signal } = options
  const given = new AbortController()
  const answer = send(request, AbortSignal.any([signal, given.signal]))
  const news = untilDue(last, options, given.signal)
  try {
    const first = await Promise.race([answer, news])
    if (first) return first
    given.abort()
    return await answer
  } catch (error) {
    if (given.signal.aborted) return undefined
    throw error
  } finally {
    given.abort()
    options.wakeUp.wake()
  }
}

async function untilDue(
  last: LastRequest,
  { party, wakeUp, workerTimeoutMs }: ExchangeOptions,
  signal: AbortSignal,
): Promise<undefined> {
  while (!signal.aborted) {
    const moment = { ...party.moment(), last }
    const at = givenUpAt(moment, workerTimeoutMs)
    if (at <= moment.now) return
    await wakeUp.wait(at - moment.now)
  }
}
