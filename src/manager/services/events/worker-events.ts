import type { WorkerGone } from '../../../core/scheduler.ts'
import type { Level } from '../../../protocol/contexts/context.ts'
import type { EventOf, NewEvent, Pool } from '../../../protocol/events.ts'
import type { AnyExchangeRequest, ContextReport } from '../../../protocol/worker.ts'
import type { Contexts } from '../contexts/contexts.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { Session, WorkerSessions } from '../pilots/worker-sessions.ts'
import { SlotTimeAccounts } from './slot-time-accounts.ts'

/** What was last told of a context on a worker. */
interface Told {
  level: Level
  fetchMs: number
  loadMs: number
  failedAttempts: number
}

interface Known {
  /** How events name it. */
  where: Pick<EventOf<'worker-lost'>, 'worker' | 'pilot' | 'site' | 'node' | 'device' | 'slots'>
  contexts: Map<string, Told>
}

/** What workers do, by what they say, told as events; {@link SlotTimeAccounts} say where the time of their slots goes. */
export class WorkerEvents {
  readonly #sessions: WorkerSessions
  readonly #contexts: Contexts
  readonly #note: (event: NewEvent) => void
  readonly #workers = new Map<string, Known>()
  readonly #accounts: SlotTimeAccounts

  /** @param before totals of an earlier start, to go on from */
  constructor(
    parts: { dispatcher: Dispatcher; sessions: WorkerSessions; contexts: Contexts },
    note: (event: NewEvent) => void,
    before: readonly Pool[],
  ) {
    this.#sessions = parts.sessions
    this.#contexts = parts.contexts
    this.#note = note
    this.#accounts = new SlotTimeAccounts(parts.dispatcher, before)
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

  /** @param bootMs time from the start of the pilot to now; undefined of a worker that an earlier start of this manager knew */
  #open(session: Session, bootMs: number | undefined): Known {
    const { worker, pilot, site, info } = session
    const device = info.slots[0]!.device
    const slots = info.slots.length
    const where = { worker, pilot, site, node: info.node, device, slots }
    const known: Known = { where, contexts: new Map() }
    this.#workers.set(worker, known)
    this.#accounts.open(where, bootMs)
    return known
  }

  /** Takes in what a worker says. */
  note(worker: string, said: Pick<AnyExchangeRequest, 'contexts' | 'results' | 'energyJ'>): void {
    const known = this.#workers.get(worker) ?? this.#returned(worker)
    if (!known) return
    for (const report of said.contexts) this.#noteContext(known, report)
    this.#noteUnlisted(known, said.contexts)
    this.#accounts.note(worker, said)
  }

  #returned(worker: string): Known | undefined {
    const session = this.#sessions.find(worker)
    if (!session) return undefined
    const known = this.#open(session, undefined)
    this.#note({ type: 'worker-returned', ...known.where })
    return known
  }

  #noteContext({ where, contexts }: Known, report: ContextReport): void {
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
  #noteUnlisted(known: Known, reports: readonly ContextReport[]): void {
    if (known.contexts.size <= reports.length) return
    const listed = new Set(reports.map(({ context }) => context))
    for (const context of [...known.contexts.keys()]) {
      if (listed.has(context)) continue
      this.#noteContext(known, { context, level: 'absent', attempts: 0 })
      known.contexts.delete(context)
    }
  }

  #gone({ worker, reason, leaving, requeued, attempts, goneAt }: WorkerGone): void {
    const known = this.#workers.get(worker)
    if (!known) return
    this.#workers.delete(worker)
    const { where } = known
    const spent = this.#accounts.close(worker, goneAt)
    const handedBack = attempts.reduce((sum, { tasks }) => sum + tasks, 0)
    const loss = { requeued: Math.max(requeued, handedBack), ...spent }
    if (reason === 'lost') this.#note({ type: 'worker-lost', ...where, ...loss })
    else if (leaving === 'eviction' || leaving === 'walltime')
      this.#note({ type: 'worker-evicted', ...where, ...loss, reason: leaving })
    else this.#note({ type: 'worker-left', ...where, ...loss, reason: leaving ?? 'drain' })
    for (const { job, tasks } of attempts) this.#note({ type: 'attempts-lost', job, ...where, tasks })
  }

  /** What there is of each kind of slots now, and what it has done. */
  pools(): Pool[] {
    return this.#accounts.pools()
  }

  /** Ends all accounts: who speaks again after this was not heard of meanwhile. */
  close(): void {
    this.#accounts.settleAll()
  }
}
