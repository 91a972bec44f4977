import type { Logger } from 'pino'
import type {
  ExchangeRequest,
  ExchangeResponse,
  PartsRequest,
  PartsResponse,
  RegisterResponse,
} from '../protocol/worker.ts'
import type { BlobCache } from './tasks/blob-cache.ts'
import { type WakeUp, createWakeUp } from '../common/wake-up.ts'
import { reportOf } from './contexts/context-state.ts'
import { type NodeSupervisor, createNodeSupervisor } from './slots/node-supervisor.ts'
import type { DeviceMemory } from './gpus/device-memory.ts'
import { PilotError } from './exit-codes.ts'
import { createPartSender } from './uplink/part-sender.ts'
import { exchangeUntilOver, type ExchangeParty } from './uplink/exchange-loop.ts'
import { unfinishedInAll } from './tasks/task-queue.ts'
import { type Shutdown, shutdownOf, type ShutdownReason } from './policy/shutdown.ts'
import type { ExchangeMoment } from './policy/exchange-pacing.ts'
import type { FetchContext } from './contexts/held-contexts.ts'
import type { WantedShells } from './shells/wanted-shells.ts'
import type { EnergyMeter } from './gpus/energy-meter.ts'
import type { SlotPlan } from './slots/slot-plan.ts'

export interface WorkerOptions {
  /** What the manager said at registration. */
  terms: Pick<RegisterResponse, 'workerTimeoutMs' | 'leaseTargetMs' | 'idleMs' | 'contextMode'>
  /** Sends one request until it is answered. */
  send: (request: ExchangeRequest, signal: AbortSignal) => Promise<ExchangeResponse>
  /** Sends parts of values, again while the manager does not answer. */
  sendParts: (request: PartsRequest, signal: AbortSignal) => Promise<PartsResponse>
  fetch: FetchContext
  /** Runs the shells that users want here. */
  shells: Pick<WantedShells, 'want'>
  blobs: BlobCache
  slots: readonly SlotPlan[]
  /** Folder for the libraries' temporary files. */
  scratch: string
  /** What the node's GPUs are used for. */
  devices: () => Promise<DeviceMemory>
  /** What the pilot's GPUs draw. */
  energy: Pick<EnergyMeter, 'joules'>
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
  'fetch' | 'blobs' | 'sendParts' | 'slots' | 'scratch' | 'setupLimitMs' | 'devices'
> {
  readonly supervisor: NodeSupervisor
  readonly wakeUp: WakeUp
  readonly abort: AbortController
  /** Since when there is something that the manager was not told. */
  unreportedSince?: number | undefined
  /** Since when there is nothing to do. */
  idleSince?: number | undefined
  /** The manager has said that it should go. */
  drained: boolean
  shutdown?: Shutdown | undefined
  /** Whether the manager was told of the departure. */
  shutdownNotice: 'unsaid' | 'said' | 'heard'
}

/**
 * Works until there is a reason to leave, and leaves: with every result acknowledged and every other task handed back.
 *
 * @returns the reason
 * @throws PilotError when the manager has ended the session, or cannot be reached for too long
 */
export async function work(options: WorkerOptions): Promise<ShutdownReason> {
  const { terms, evicted, send } = options
  const wakeUp = createWakeUp()
  const abort = new AbortController()
  const partSender = createPartSender({
    send: (parts) => options.sendParts({ parts }, abort.signal),
    // The next exchange says which of its tasks are no longer waited for.
    onLost(leases) {
      if (leases.some((lease) => supervisor.tasks.open.has(lease))) noteUnreported(state)
    },
  })
  const supervisor = createNodeSupervisor({
    ...options,
    partSender,
    contextMode: terms.contextMode,
    onUnreported: () => noteUnreported(state),
    onProgress: () => wakeUp.wake(),
  })
  const state: WorkerState = {
    ...options,
    wakeUp,
    abort,
    supervisor,
    drained: false,
    shutdownNotice: 'unsaid',
  }
  const party: ExchangeParty = {
    moment: () => momentOf(state),
    compose: (waitMs) => compose(state, waitMs),
    apply: (answer) => apply(state, answer),
    isOver: () => state.shutdownNotice === 'heard' && isDone(state),
  }

  const look = () => lookAtClock(state)
  const timer = setInterval(look, TICK_MS)
  evicted.addEventListener('abort', look)
  noteUnreported(state)
  try {
    await exchangeUntilOver({
      party,
      send,
      wakeUp,
      workerTimeoutMs: terms.workerTimeoutMs,
      signal: abort.signal,
    })
  } catch (error) {
    if (!isForgotten(state, error)) throw error
  } finally {
    clearInterval(timer)
    partSender.close()
    evicted.removeEventListener('abort', look)
    await supervisor.stop()
    await supervisor.heldContexts.close()
  }
  return state.shutdown!.reason
}

function noteUnreported(state: WorkerState): void {
  state.unreportedSince ??= performance.now()
  state.wakeUp.wake()
}

/** Nothing is in hand, and the manager has acknowledged all results. */
function isDone({ supervisor: { tasks } }: WorkerState): boolean {
  return unfinishedInAll(tasks) === 0 && tasks.results.length === 0
}

/** The manager forgets a worker that has said all it had to say: asked again, it knows it no more. */
function isForgotten({ shutdownNotice, supervisor: { tasks } }: WorkerState, error: unknown): boolean {
  const saidAll = unfinishedInAll(tasks) === 0 && tasks.results.length === tasks.reported
  return (
    error instanceof PilotError &&
    error.code === 'GLEANER_PILOT_REFUSED' &&
    shutdownNotice !== 'unsaid' &&
    saidAll
  )
}

/** Time until it must stop, milliseconds. */
function leftMs({ lastMoment }: WorkerState, now: number): number | undefined {
  return lastMoment === undefined ? undefined : Math.max(0, lastMoment - now)
}

function momentOf({ supervisor, shutdown, unreportedSince }: WorkerState): Omit<ExchangeMoment, 'last'> {
  const starving = !shutdown && supervisor.isStarving()
  return {
    now: performance.now(),
    unreportedSince,
    rate: supervisor.rate(),
    starving,
    warming: supervisor.isWarming() || supervisor.progress().length > 0,
  }
}

function compose(state: WorkerState, waitMs: number): Omit<ExchangeRequest, 'seq'> {
  const { supervisor, terms, shutdown, energy } = state
  const now = performance.now()
  const { results, leases } = supervisor.report()
  state.unreportedSince = results.length < supervisor.tasks.results.length ? now : undefined
  if (shutdown) state.shutdownNotice = 'said'
  return {
    results,
    leases,
    progress: supervisor.progress(),
    contexts: [...supervisor.heldContexts.states()].map((context) => reportOf(context, now)),
    want: supervisor.wants(terms.leaseTargetMs, leftMs(state, now)),
    rate: supervisor.rate(),
    waitMs,
    ...(energy.joules !== undefined && { energyJ: Math.round(energy.joules) }),
    ...(shutdown && { leaving: shutdown.reason }),
  }
}

function apply(state: WorkerState, answer: ExchangeResponse): void {
  if (state.shutdownNotice === 'said') state.shutdownNotice = 'heard'
  state.drained ||= answer.drain
  state.supervisor.take(answer)
  state.shells.want(answer.shells)
  lookAtClock(state)
}

function lookAtClock(state: WorkerState): void {
  const { supervisor, terms, lastMoment, evicted, drained, graceMs } = state
  const now = performance.now()
  const busy = !isDone(state) || supervisor.isWarming()
  state.idleSince = busy ? undefined : (state.idleSince ?? now)
  const situation = {
    now,
    lastMoment,
    evicted: evicted.aborted,
    drained,
    idleSince: state.idleSince,
    idleMs: terms.idleMs,
    hasUse: supervisor.hasUse(leftMs(state, now)),
  }
  const shutdown = shutdownOf(state.shutdown, situation, graceMs)
  if (shutdown && shutdown !== state.shutdown) beginShutdown(state, shutdown, now)
  if (shutdown && now >= shutdown.stopAt) stopWork(state, shutdown)
  if (shutdown && now >= shutdown.goneAt) giveUp(state)
}

function beginShutdown(state: WorkerState, shutdown: Shutdown, now: number): void {
  const { reason, stopAt } = shutdown
  state.shutdown = shutdown
  state.shutdownNotice = 'unsaid'
  state.log.info({ reason, inHand: unfinishedInAll(state.supervisor.tasks) }, 'leaving')
  state.supervisor.windDown(stopAt === Infinity ? undefined : stopAt - now)
  noteUnreported(state)
}

function stopWork({ supervisor }: WorkerState, shutdown: Shutdown): void {
  shutdown.stopAt = Infinity
  void supervisor.stop()
}

function giveUp({ abort, wakeUp }: WorkerState): void {
  abort.abort(new PilotError('GLEANER_PILOT_UNREACHABLE', 'the manager could not be told of the end in time'))
  wakeUp.wake()
}
