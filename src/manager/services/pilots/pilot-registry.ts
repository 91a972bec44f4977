import { EventEmitter } from 'node:events'
import type { Demand, PilotRecord, PilotRegistry } from '../../../core/interfaces/pilot-registry.ts'
import { SiteOrder } from '../../../protocol/status.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import { numberOf, type PilotStore } from '../../ledger/pilot-store.ts'
import type { Dispatcher } from '../dispatcher.ts'
import { makeToken } from '../tokens.ts'
import type { Session, WorkerSessions } from './worker-sessions.ts'

interface PilotEvents {
  submitted: [pilot: { pilot: string; site: string; jobId: string }]
  ended: [pilot: { pilot: string; site: string; reason: string }]
}

/** The account of pilots that the factory keeps in the ledger: what was submitted, and what became of it. */
export class LedgerPilotRegistry extends EventEmitter<PilotEvents> implements PilotRegistry {
  /** This factory's identity, stable over restarts. */
  readonly factoryId: string
  readonly #ledger: Ledger
  readonly #store: PilotStore
  readonly #dispatcher: Dispatcher
  readonly #sessions: WorkerSessions
  /** Pilots whose workers turned out to be black holes, and their nodes. */
  readonly #blackHoles = new Map<string, string>()
  /** Pilots that have not ended. */
  #open: number

  constructor(ledger: Ledger, dispatcher: Dispatcher, sessions: WorkerSessions) {
    super()
    this.#ledger = ledger
    this.#store = ledger.pilots
    this.#dispatcher = dispatcher
    this.#sessions = sessions
    this.factoryId = ledger.metaOrNew('factory-id', () => crypto.randomUUID().slice(0, 8))
    this.#open = this.#store.countOpen()
    this.#tellComing()
    sessions.on('changed', () => this.#tellComing())
    dispatcher.on('black-hole', (worker, node) => {
      const session = sessions.find(worker)
      if (session) this.#blackHoles.set(session.pilot, node)
    })
  }

  /** Pilots that have no worker yet. */
  #tellComing(): void {
    this.#dispatcher.expectPilots(Math.max(0, this.#open - this.#sessions.count))
  }

  /** Records pilots before they are submitted and returns their one-time tokens. Durable on return. */
  create(site: string, count: number): { pilot: string; token: string }[] {
    const added = this.#store.add(site, count, this.#dispatcher.now, (id) => makeToken(`p${id}`))
    this.#open += count
    this.#tellComing()
    return added.map(({ id, token }) => ({ pilot: `p${id}`, token }))
  }

  /** Notes which batch job runs each pilot. */
  submitted(pilots: { pilot: string; jobId: string }[]): void {
    const jobs = pilots.map(({ pilot, jobId }) => ({ id: numberOf(pilot), jobId }))
    const sites = this.#store.submitted(jobs, this.#dispatcher.now)
    for (const pilot of pilots) {
      const site = sites.get(numberOf(pilot.pilot))
      if (site !== undefined) this.emit('submitted', { ...pilot, site })
    }
  }

  /** The site's pilots that have not ended. */
  list(site: string): PilotRecord[] {
    const workers = new Map<string, Session>()
    for (const session of this.#sessions.all) workers.set(session.pilot, session)
    return this.#store.open(site).map(({ id, jobId, createdAt, submittedAt, registeredAt }) => {
      const pilot = `p${id}`
      const session = workers.get(pilot)
      const worker = session && this.#workerOf(session)
      const parted = worker ? undefined : this.#sessions.partedFrom(pilot)
      const blackHole = this.#blackHoles.get(pilot)
      return {
        pilot,
        createdAt,
        ...(jobId !== null && { jobId }),
        ...(submittedAt !== null && { submittedAt }),
        ...(registeredAt !== null && { registeredAt }),
        ...(worker && { worker }),
        ...(parted && { parted }),
        ...(blackHole !== undefined && { blackHole }),
      }
    })
  }

  /** Sites that have pilots that have not ended, as far as is known. */
  sites(): string[] {
    return this.#store.sites()
  }

  #workerOf(session: Session): PilotRecord['worker'] {
    const worker = this.#dispatcher.view.worker(session.worker)
    if (!worker) return undefined
    const { leased } = worker
    if (leased > 0) delete session.idleSince
    else session.idleSince ??= this.#dispatcher.now
    return {
      id: worker.id,
      node: worker.node,
      state: worker.standing,
      leased,
      ...(session.idleSince === undefined ? {} : { idleSince: session.idleSince }),
      tasksDone: worker.done,
      tasksFailed: worker.failures,
    }
  }

  /** Pilots whose jobs are gone: their tokens and sessions are void, and what they had in hand goes to others. */
  ended(pilots: { pilot: string; reason: string }[]): void {
    const jobs = pilots.map(({ pilot, reason }) => ({ id: numberOf(pilot), reason }))
    const sites = this.#store.end(jobs, this.#dispatcher.now)
    this.#open -= sites.size
    for (const { pilot } of pilots) this.#blackHoles.delete(pilot)
    this.#sessions.revoke(pilots.map(({ pilot }) => pilot))
    this.#tellComing()
    for (const { pilot, reason } of pilots) {
      const site = sites.get(numberOf(pilot))
      if (site !== undefined) this.emit('ended', { pilot, site, reason: reason.slice(0, 1000) })
    }
  }

  demand(): Demand {
    return this.#dispatcher.view.demand()
  }

  /** Asks a pilot's worker to take no more work, finish what it has, and leave. */
  drain(pilot: string): void {
    for (const session of this.#sessions.all) {
      if (session.pilot === pilot) this.#dispatcher.drain(session.worker)
    }
  }

  order(site: string): SiteOrder {
    const stored = SiteOrder.safeParse(this.#ledger.meta(orderKey(site)))
    return stored.success ? stored.data : 'work'
  }

  setOrder(site: string, order: SiteOrder): void {
    this.#ledger.setMeta(orderKey(site), order)
  }
}

const orderKey = (site: string) => `site-order ${site}`
