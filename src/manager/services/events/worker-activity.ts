import {
  closeAccount,
  enter,
  noSlotTime,
  openAccount,
  settle,
  type SlotAccount,
  slotUse,
} from '../../../core/slot-time.ts'
import type { WorkerGone } from '../../../core/scheduler.ts'
import type { Level } from '../../../protocol/contexts/context.ts'
import type { EventOf, NewEvent, Pool, SlotTime } from '../../../protocol/events.ts'
import type { AnyExchangeRequest, ContextReport } from '../../../protocol/worker.ts'
import type { Contexts } from '../contexts/contexts.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { Session, WorkerSessions } from '../pilots/worker-sessions.ts'

/** Kinds of slots that are told apart: a driver may say anything. */
const MAX_POOLS = 32
const OTHER = 'other'

/** What was last told of a context on a worker. */
interface Told {
  level: Level
  fetchMs: number
  loadMs: number
  failedAttempts: number
}

interface Activity {
  /** How events name it. */
  where: Pick<EventOf<'worker-lost'>, 'worker' | 'pilot' | 'site' | 'node' | 'device' | 'slots'>
  pool: string
  account: SlotAccount
  contexts: Map<string, Told>
  reports: readonly ContextReport[]
  /** This manager knows it from its registration on. */
  isNew: boolean
  /** What its GPUs have drawn, as it said last, joules. */
  energyJ?: number | undefined
}

interface PoolTotals {
  site: string
  device: string
  spentMs: SlotTime
  energyJ?: number | undefined
}

/** What workers do, by what they say: tells events of it, and keeps the account of where the time of slots goes. */
export class WorkerActivity {
  readonly #dispatcher: Dispatcher
  readonly #sessions: WorkerSessions
  readonly #contexts: Contexts
  readonly #note: (event: NewEvent) => void
  readonly #workers = new Map<string, Activity>()
  readonly #pools = new Map<string, PoolTotals>()

  /** @param before totals of an earlier start, to go on from */
  constructor(
    parts: { dispatcher: Dispatcher; sessions: WorkerSessions; contexts: Contexts },
    note: (event: NewEvent) => void,
    before: readonly Pool[],
  ) {
    this.#dispatcher = parts.dispatcher
    this.#sessions = parts.sessions
    this.#contexts = parts.contexts
    this.#note = note
    for (const { site, device, spentMs, energyJ } of before)
      this.#pools.set(poolKey(site, device), { site, device, spentMs: { ...spentMs }, energyJ })
    parts.sessions.on('registered', (session, queuedMs) => this.#registered(session, queuedMs))
    parts.dispatcher.on('worker-gone', (_worker, _reason, gone) => this.#gone(gone))
    parts.dispatcher.on('black-hole', (worker, node, failures) => {
      const site = this.#workers.get(worker)?.where.site
      if (site !== undefined) note({ type: 'node-avoided', worker, site, node, failures })
    })
  }

  #registered(session: Session, queuedMs: number | undefined): void {
    const { startedAt, clock, restarts } = session.info
    const bootMs = Math.max(0, clock - startedAt)
    const { where } = this.#open(session, bootMs)
    this.#note({
      type: 'worker-registered',
      ...where,
      ...(queuedMs !== undefined && { queuedMs }),
      bootMs,
      restarts,
    })
  }

  #open(session: Session, bootMs: number): Activity {
    const { worker, pilot, site, info } = session
    const device = info.slots[0]!.device
    const slots = info.slots.length
    const pool = this.#poolOf(site, device)
    const activity: Activity = {
      where: { worker, pilot, site, node: info.node, device, slots },
      pool,
      account: openAccount(slots, this.#pools.get(pool)!.spentMs, bootMs, this.#dispatcher.now),
      contexts: new Map(),
      reports: [],
      isNew: true,
    }
    this.#workers.set(worker, activity)
    return activity
  }

  #poolOf(site: string, device: string): string {
    const key = poolKey(site, device)
    if (this.#pools.has(key)) return key
    if (this.#pools.size >= MAX_POOLS && device !== OTHER) return this.#poolOf(site, OTHER)
    this.#pools.set(key, { site, device, spentMs: noSlotTime() })
    return key
  }

  /** Takes in what a worker says. */
  note(
    worker: string,
    { contexts, results, energyJ }: Pick<AnyExchangeRequest, 'contexts' | 'results' | 'energyJ'>,
  ): void {
    const activity = this.#workers.get(worker) ?? this.#returned(worker)
    if (!activity) return
    activity.reports = contexts
    for (const report of contexts) this.#noteContext(activity, report)
    this.#noteUnlisted(activity, contexts)
    if (energyJ !== undefined) this.#noteEnergy(activity, energyJ)
    this.#enter(activity)
    if (results.some(({ outcome }) => outcome.status !== 'returned')) settle(activity.account)
  }

  /** What a worker that returned had drawn when it was last heard of is not known: only what it draws from then on is counted. */
  #noteEnergy(activity: Activity, energyJ: number): void {
    const before = activity.energyJ ?? (activity.isNew ? 0 : energyJ)
    const pool = this.#pools.get(activity.pool)!
    pool.energyJ = (pool.energyJ ?? 0) + Math.max(0, energyJ - before)
    activity.energyJ = energyJ
  }

  #returned(worker: string): Activity | undefined {
    const session = this.#sessions.find(worker)
    if (!session) return undefined
    const activity = this.#open(session, 0)
    activity.isNew = false
    this.#note({ type: 'worker-returned', ...activity.where })
    return activity
  }

  #enter({ where, account, reports }: Activity): void {
    const inHand = this.#dispatcher.view.worker(where.worker)?.leased ?? 0
    enter(account, slotUse(account.slots, reports, inHand), this.#dispatcher.now)
  }

  #noteContext({ where, contexts }: Activity, report: ContextReport): void {
    const spec = this.#contexts.find(report.context)
    if (!spec) return
    const last = contexts.get(report.context) ?? { level: 'absent', fetchMs: 0, loadMs: 0, failedAttempts: 0 }
    const { level, fetchMs = 0, loadMs = 0, memory, error, attempts } = report
    const isFailure = error !== undefined && attempts > last.failedAttempts
    if (level === last.level && !isFailure) {
      if (!contexts.has(report.context)) contexts.set(report.context, last)
      return
    }
    const failedAttempts = isFailure ? attempts : last.failedAttempts
    contexts.set(report.context, { level, fetchMs, loadMs, failedAttempts })
    const about = { ...where, context: spec.name, contextId: spec.id }
    if (isFailure) this.#note({ type: 'context-failed', ...about, message: error.message, attempts })
    if (level === last.level) return
    this.#note({
      type: 'context-level',
      ...about,
      from: last.level,
      level,
      fetchMs: Math.max(0, fetchMs - last.fetchMs),
      loadMs: Math.max(0, loadMs - last.loadMs),
      ...(memory !== undefined && { memory }),
    })
  }

  /** What a worker no longer speaks of, it no longer has. */
  #noteUnlisted(activity: Activity, reports: readonly ContextReport[]): void {
    if (activity.contexts.size <= reports.length) return
    const listed = new Set(reports.map(({ context }) => context))
    for (const context of [...activity.contexts.keys()]) {
      if (listed.has(context)) continue
      this.#noteContext(activity, { context, level: 'absent', attempts: 0 })
      activity.contexts.delete(context)
    }
  }

  #gone({ worker, reason, leaving, requeued, attempts, goneAt }: WorkerGone): void {
    const activity = this.#workers.get(worker)
    if (!activity) return
    this.#workers.delete(worker)
    const { where } = activity
    const lostMs = closeAccount(activity.account, Math.min(goneAt, this.#dispatcher.now))
    const handedBack = attempts.reduce((sum, { tasks }) => sum + tasks, 0)
    const energy = activity.energyJ === undefined ? {} : { energyJ: activity.energyJ }
    const loss = { requeued: Math.max(requeued, handedBack), lostMs, ...energy }
    if (reason === 'lost') this.#note({ type: 'worker-lost', ...where, ...loss })
    else if (leaving === 'eviction' || leaving === 'walltime')
      this.#note({ type: 'worker-evicted', ...where, ...loss, reason: leaving })
    else this.#note({ type: 'worker-left', ...where, ...loss, reason: leaving ?? 'drain' })
    for (const { job, tasks } of attempts) this.#note({ type: 'attempts-lost', job, ...where, tasks })
  }

  /** What there is of each kind now, and what it has done. */
  pools(): Pool[] {
    const counts = new Map<string, Omit<Pool, 'site' | 'device' | 'spentMs'>>()
    for (const activity of this.#workers.values()) {
      this.#enter(activity)
      const { use, slots } = activity.account
      const { workers = 0, ...sum } = counts.get(activity.pool) ?? {}
      const added = { ...none, ...sum }
      counts.set(activity.pool, {
        workers: workers + 1,
        slots: added.slots + slots,
        fetching: added.fetching + use.fetching,
        loading: added.loading + use.loading,
        working: added.working + use.working,
        idle: added.idle + use.idle,
      })
    }
    return [...this.#pools].map(([key, { site, device, spentMs, energyJ }]) => ({
      site,
      device,
      ...(counts.get(key) ?? none),
      spentMs: { ...spentMs },
      ...(energyJ !== undefined && { energyJ }),
    }))
  }

  /** Ends all accounts: who speaks again after this was not heard of meanwhile. */
  close(): void {
    for (const activity of this.#workers.values()) {
      this.#enter(activity)
      settle(activity.account)
    }
  }
}

const none = { workers: 0, slots: 0, fetching: 0, loading: 0, working: 0, idle: 0 }

const poolKey = (site: string, device: string) => `${site} ${device}`
