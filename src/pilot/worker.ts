import type { Logger } from 'pino'
import type { ExchangeRequest, ExchangeResponse, RegisterResponse } from '../protocol/worker.ts'
import type { Blobs } from './blobs.ts'
import { type Bell, createBell } from './bell.ts'
import { reportOf } from './context.ts'
import { type Crew, createCrew } from './crew.ts'
import type { DeviceMemory } from './device-memory.ts'
import { PilotError } from './errors.ts'
import { exchangeUntilOver, type Party } from './exchange.ts'
import { acknowledge, emptyHand, type Hand, report, unfinishedInAll } from './hand.ts'
import { type Departure, departureOf, type Leaving } from './leaving.ts'
import type { Moment } from './pacing.ts'
import type { FetchContext } from './shelf.ts'
import type { SlotPlan } from './slot-plan.ts'

export interface WorkerOptions {
  /** What the manager said at registration. */
  terms: Pick<RegisterResponse, 'leaseMs' | 'leaseTargetMs' | 'idleMs' | 'contextMode'>
  /** Sends one request until it is answered. */
  send: (request: ExchangeRequest, signal: AbortSignal) => Promise<ExchangeResponse>
  fetch: FetchContext
  blobs: Blobs
  slots: readonly SlotPlan[]
  /** Folder for the libraries' temporary files. */
  scratch: string
  /** What the node's GPUs are used for. */
  devices: () => Promise<DeviceMemory>
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

/** Times are milliseconds on the process's monotonic clock. */
interface WorkerState extends Omit<
  WorkerOptions,
  'fetch' | 'blobs' | 'slots' | 'scratch' | 'setupLimitMs' | 'devices'
> {
  readonly hand: Hand
  readonly crew: Crew
  readonly bell: Bell
  readonly abort: AbortController
  /** Since when there is something that the manager was not told. */
  newsSince?: number | undefined
  /** Since when there is nothing to do. */
  idleSince?: number | undefined
  /** The manager has said that it should go. */
  drained: boolean
  departure?: Departure | undefined
  /** Whether the manager was told of the departure. */
  farewell: 'unsaid' | 'said' | 'heard'
}

/**
 * Works until there is a reason to leave, and leaves: with every result acknowledged and every other task handed back.
 *
 * @returns the reason
 * @throws PilotError when the manager has ended the session, or cannot be reached for too long
 */
export async function work(options: WorkerOptions): Promise<Leaving> {
  const { terms, evicted, send } = options
  const hand = emptyHand()
  const bell = createBell()
  const abort = new AbortController()
  const crew = createCrew({ ...options, contextMode: terms.contextMode, hand, onNews: () => noteNews(state) })
  const state: WorkerState = { ...options, hand, bell, abort, crew, drained: false, farewell: 'unsaid' }
  const party: Party = {
    moment: () => momentOf(state),
    compose: (waitMs) => compose(state, waitMs),
    apply: (answer) => apply(state, answer),
    isOver: () => state.farewell === 'heard' && isDone(state),
  }

  const look = () => lookAtClock(state)
  const timer = setInterval(look, TICK_MS)
  evicted.addEventListener('abort', look)
  noteNews(state)
  try {
    await exchangeUntilOver({ party, send, bell, leaseMs: terms.leaseMs, signal: abort.signal })
  } catch (error) {
    if (!isForgotten(state, error)) throw error
  } finally {
    clearInterval(timer)
    evicted.removeEventListener('abort', look)
    await crew.stop()
    await crew.shelf.close()
  }
  return state.departure!.reason
}

function noteNews(state: WorkerState): void {
  state.newsSince ??= performance.now()
  state.bell.ring()
}

/** Nothing is in hand, and the manager has acknowledged all results. */
function isDone({ hand }: WorkerState): boolean {
  return unfinishedInAll(hand) === 0 && hand.results.length === 0
}

/** The manager forgets a worker that has said all it had to say: asked again, it knows it no more. */
function isForgotten({ farewell, hand }: WorkerState, error: unknown): boolean {
  const saidAll = unfinishedInAll(hand) === 0 && hand.results.length === hand.reported
  return error instanceof PilotError && error.code === 'refused' && farewell !== 'unsaid' && saidAll
}

/** Time until it must stop, milliseconds. */
function leftMs({ lastMoment }: WorkerState, now: number): number | undefined {
  return lastMoment === undefined ? undefined : Math.max(0, lastMoment - now)
}

function momentOf({ crew, departure, newsSince }: WorkerState): Omit<Moment, 'sentAt'> {
  const hungry = !departure && crew.isHungry()
  return {
    now: performance.now(),
    newsSince,
    rate: crew.rate(),
    hungry,
    climbing: crew.isClimbing() || crew.progress().length > 0,
  }
}

function compose(state: WorkerState, waitMs: number): Omit<ExchangeRequest, 'seq'> {
  const { hand, crew, terms, departure } = state
  const now = performance.now()
  const { results, leases } = report(hand)
  state.newsSince = results.length < hand.results.length ? now : undefined
  if (departure) state.farewell = 'said'
  return {
    results,
    leases,
    progress: crew.progress(),
    contexts: [...crew.shelf.states()].map((context) => reportOf(context, now)),
    want: crew.wants(terms.leaseTargetMs, leftMs(state, now)),
    rate: crew.rate(),
    waitMs,
    ...(departure && { leaving: departure.reason }),
  }
}

function apply(state: WorkerState, answer: ExchangeResponse): void {
  acknowledge(state.hand)
  if (state.farewell === 'said') state.farewell = 'heard'
  state.drained ||= answer.drain
  state.crew.take(answer)
  lookAtClock(state)
}

function lookAtClock(state: WorkerState): void {
  const { crew, terms, lastMoment, evicted, drained, graceMs } = state
  const now = performance.now()
  const busy = !isDone(state) || crew.isClimbing()
  state.idleSince = busy ? undefined : (state.idleSince ?? now)
  const situation = {
    now,
    lastMoment,
    evicted: evicted.aborted,
    drained,
    idleSince: state.idleSince,
    idleMs: terms.idleMs,
    hasUse: crew.hasUse(leftMs(state, now)),
  }
  const departure = departureOf(state.departure, situation, graceMs)
  if (departure && departure !== state.departure) depart(state, departure, now)
  if (departure && now >= departure.stopAt) stopWork(state, departure)
  if (departure && now >= departure.goneAt) giveUp(state)
}

function depart(state: WorkerState, departure: Departure, now: number): void {
  const { reason, stopAt } = departure
  state.departure = departure
  state.farewell = 'unsaid'
  state.log.info({ reason, inHand: unfinishedInAll(state.hand) }, 'leaving')
  state.crew.windDown(stopAt === Infinity ? undefined : stopAt - now)
  noteNews(state)
}

function stopWork({ crew }: WorkerState, departure: Departure): void {
  departure.stopAt = Infinity
  void crew.stop()
}

function giveUp({ abort, bell }: WorkerState): void {
  abort.abort(new PilotError('unreachable', 'the manager could not be told of the end in time'))
  bell.ring()
}
