import type { Logger } from 'pino'
import type { ExchangeRequest, ExchangeResponse, RegisterResponse } from '../protocol/worker.ts'
import { createBell } from './bell.ts'
import { reportOf } from './context.ts'
import { createCrew } from './crew.ts'
import { PilotError } from './errors.ts'
import { exchangeUntilOver, type Party } from './exchange.ts'
import { acknowledge, emptyHand, report, unfinishedInAll } from './hand.ts'
import { type Leaving, reasonToLeave, timetable } from './leaving.ts'
import type { FetchContext } from './shelf.ts'
import type { SlotPlan } from './slot.ts'

export interface WorkerOptions {
  /** What the manager said at registration. */
  terms: Pick<RegisterResponse, 'leaseMs' | 'leaseTargetMs' | 'idleMs'>
  /** Sends one request until it is answered. */
  send: (request: ExchangeRequest, signal: AbortSignal) => Promise<ExchangeResponse>
  fetch: FetchContext
  slots: readonly SlotPlan[]
  /** Folder for the libraries' temporary files. */
  scratch: string
  /** Warning the batch system gives before it kills, milliseconds. */
  graceMs: number
  /** When it must stop at the latest, on the process's monotonic clock; absent if it need not. */
  lastMoment?: number | undefined
  /** Longest the setup of a library may take, milliseconds. */
  setupLimitMs: number
  /** Aborts when the batch system takes the node back. */
  evicted: AbortSignal
  log: Logger
}

/** How often the clock is looked at for reasons to leave, milliseconds. */
const TICK_MS = 100

/** A worker on its way out. */
interface Departure {
  reason: Leaving
  /** When everything that has not ended is handed back, and when it gives up telling the manager. */
  stopAt: number
  goneAt: number
}

/**
 * Works until there is a reason to leave, and leaves: with every result acknowledged and every other task handed back.
 *
 * @returns the reason
 * @throws PilotError when the manager has ended the session, or cannot be reached for too long
 */
export async function work(options: WorkerOptions): Promise<Leaving> {
  const { terms, lastMoment, graceMs, evicted, log } = options
  const hand = emptyHand()
  const bell = createBell()
  const abort = new AbortController()
  let newsSince: number | undefined = performance.now()
  let idleSince: number | undefined
  let drained = false
  let departure: Departure | undefined
  let farewell: 'unsaid' | 'said' | 'heard' = 'unsaid'

  const crew = createCrew({ ...options, hand, onNews })

  function onNews() {
    newsSince ??= performance.now()
    bell.ring()
  }

  const leftMs = (now: number) => (lastMoment === undefined ? undefined : Math.max(0, lastMoment - now))
  const isDone = () => unfinishedInAll(hand) === 0 && hand.results.length === 0
  const isTold = () => unfinishedInAll(hand) === 0 && hand.results.length === hand.reported

  const party: Party = {
    moment() {
      const now = performance.now()
      const hungry = !departure && crew.isHungry()
      return { now, newsSince, rate: crew.rate(), hungry, climbing: crew.isClimbing() }
    },
    compose(waitMs) {
      const now = performance.now()
      const { results, leases } = report(hand)
      newsSince = results.length < hand.results.length ? now : undefined
      if (departure) farewell = 'said'
      return {
        results,
        leases,
        contexts: [...crew.shelf.states()].map((state) => reportOf(state, now)),
        want: crew.wants(terms.leaseTargetMs, leftMs(now)),
        rate: crew.rate(),
        waitMs,
        ...(departure && { leaving: departure.reason }),
      }
    },
    apply(answer) {
      acknowledge(hand)
      if (farewell === 'said') farewell = 'heard'
      drained ||= answer.drain
      crew.take(answer)
      lookAtClock()
    },
    isOver: () => farewell === 'heard' && isDone(),
  }

  function lookAtClock() {
    const now = performance.now()
    const busy = !isDone() || crew.isClimbing()
    idleSince = busy ? undefined : (idleSince ?? now)
    const situation = { now, lastMoment, idleSince, idleMs: terms.idleMs }
    const hasUse = crew.hasUse(leftMs(now))
    const reason = reasonToLeave({ ...situation, evicted: evicted.aborted, drained, hasUse })
    if (reason && (!departure || (reason === 'eviction' && departure.reason !== 'eviction')))
      depart(reason, now)
    if (departure && now >= departure.stopAt) stopWork(departure)
    if (departure && now >= departure.goneAt) giveUp()
  }

  function depart(reason: Leaving, now: number) {
    departure = { reason, ...timetable(reason, now, graceMs, lastMoment) }
    farewell = 'unsaid'
    log.info({ reason, inHand: unfinishedInAll(hand) }, 'leaving')
    const { stopAt } = departure
    crew.windDown(stopAt === Infinity ? undefined : stopAt - now)
    onNews()
  }

  function stopWork(own: Departure) {
    own.stopAt = Infinity
    void crew.stop()
  }

  function giveUp() {
    abort.abort(new PilotError('unreachable', 'the manager could not be told of the end in time'))
    bell.ring()
  }

  const timer = setInterval(lookAtClock, TICK_MS)
  evicted.addEventListener('abort', lookAtClock)
  try {
    const { send } = options
    await exchangeUntilOver({ party, send, bell, leaseMs: terms.leaseMs, signal: abort.signal })
  } catch (error) {
    // The manager forgets a worker that has said all it had to say: asked again, it knows it no more.
    const refused = error instanceof PilotError && error.code === 'refused'
    if (!refused || farewell === 'unsaid' || !isTold()) throw error
  } finally {
    clearInterval(timer)
    evicted.removeEventListener('abort', lookAtClock)
    await crew.stop()
    await crew.shelf.close()
  }
  return departure!.reason
}
