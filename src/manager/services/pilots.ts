import { EventEmitter } from 'node:events'
import { SiteOrder } from '../../protocol/status.ts'
import { RegisterRequest } from '../../protocol/worker.ts'
import type { Demand, PilotRecord, PilotRegistry } from '../../core/pilot-registry.ts'
import type { WorkerInfo } from '../../core/scheduler.ts'
import type { Dispatcher } from './dispatcher.ts'
import { conflict, revoked, unauthorised } from '../http/api-errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PilotStore } from '../ledger/pilot-store.ts'
import { makeToken, matches, ownerOf } from './tokens.ts'

/** What is kept of a registration: its nonce is a secret. */
const WorkerFacts = RegisterRequest.omit({ nonce: true })
type WorkerFacts = Omit<RegisterRequest, 'nonce'>

/** A worker whose session is valid. */
export interface Session {
  worker: string
  pilot: string
  site: string
  /** As registered, but with the deadline by the manager's clock. */
  info: WorkerFacts
  hash: Uint8Array
  registeredAt: number
  idleSince?: number
}

interface PilotEvents {
  submitted: [pilot: { pilot: string; site: string; jobId: string }]
  /** @param queuedMs how long the pilot had been submitted before it began, by the manager's clock */
  registered: [session: Session, queuedMs: number | undefined]
  ended: [pilot: { pilot: string; site: string; reason: string }]
}

/** Pilots and the workers they boot: their tokens, sessions and what became of them. */
export class Pilots extends EventEmitter<PilotEvents> implements PilotRegistry {
  /** This factory's identity, stable over restarts. */
  readonly factoryId: string
  readonly #ledger: Ledger
  readonly #store: PilotStore
  readonly #dispatcher: Dispatcher
  readonly #sessions = new Map<string, Session>()
  /** Pilots whose workers turned out to be black holes, and their nodes. */
  readonly #blackHoles = new Map<string, string>()
  /** Pilots that have not ended. */
  #open: number

  constructor(ledger: Ledger, dispatcher: Dispatcher) {
    super()
    this.#ledger = ledger
    this.#store = ledger.pilots
    this.#dispatcher = dispatcher
    this.factoryId = ledger.metaOrNew('factory-id', () => crypto.randomUUID().slice(0, 8))
    this.#store.bringTimesBack(dispatcher.now)
    this.#open = this.#store.countOpen()
    for (const { id, pilot, site, info, sessionHash, registeredAt } of this.#store.openWorkers()) {
      this.#remember({
        worker: `w${id}`,
        pilot: `p${pilot}`,
        site,
        info: WorkerFacts.parse(JSON.parse(info)),
        hash: sessionHash,
        registeredAt,
      })
    }
    dispatcher.on('worker-gone', (worker, reason) => {
      if (reason === 'left') this.#end(worker)
    })
    dispatcher.on('black-hole', (worker, node) => {
      const session = this.#sessions.get(worker)
      if (session) this.#blackHoles.set(session.pilot, node)
    })
  }

  #remember(session: Session): void {
    this.#sessions.set(session.worker, session)
    this.#tellComing()
  }

  #tellComing(): void {
    this.#dispatcher.expectPilots(Math.max(0, this.#open - this.#sessions.size))
  }

  /** Sessions that are valid: workers that run, or may come back. */
  get sessions(): Iterable<Session> {
    return this.#sessions.values()
  }

  session(worker: string): Session | undefined {
    return this.#sessions.get(worker)
  }

  // --- what the factory needs

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
    for (const session of this.#sessions.values()) workers.set(session.pilot, session)
    return this.#store.open(site).map(({ id, jobId, createdAt, submittedAt, registeredAt }) => {
      const pilot = `p${id}`
      const session = workers.get(pilot)
      const worker = session && this.#workerOf(session)
      const blackHole = this.#blackHoles.get(pilot)
      return {
        pilot,
        createdAt,
        ...(jobId !== null && { jobId }),
        ...(submittedAt !== null && { submittedAt }),
        ...(registeredAt !== null && { registeredAt }),
        ...(worker && { worker }),
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
    const gone = new Set(pilots.map(({ pilot }) => pilot))
    for (const session of [...this.#sessions.values()]) if (gone.has(session.pilot)) this.#revoke(session)
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
    for (const session of this.#sessions.values()) {
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

  // --- what workers need

  /** The pilot whose live token this is. @throws {ApiError} 401 */
  pilotOf(token: string | undefined): { id: number; site: string; restarts: number } {
    const owner = token === undefined ? undefined : ownerOf(token)
    if (owner === undefined || !owner.startsWith('p')) throw unauthorised()
    const pilot = this.#store.find(numberOf(owner))
    if (!pilot || !matches(token!, pilot.tokenHash)) throw unauthorised()
    return pilot
  }

  /**
   * Exchanges a pilot's token for a session. It works once for each time the batch system starts the job; a later
   * start ends the session of an earlier one. The same request again gets the same session.
   * @throws {ApiError} 401 for a token that is not valid, 409 for one that is spent
   */
  register(token: string | undefined, request: RegisterRequest): { worker: string; session: string } {
    const pilot = this.pilotOf(token)
    const { nonce, ...info } = request
    const before = [...this.#sessions.values()].filter((session) => session.pilot === `p${pilot.id}`)
    if (info.restarts <= pilot.restarts) {
      for (const { worker, hash } of before) {
        const { token: session } = makeToken(worker, nonce)
        if (matches(session, hash)) return { worker, session }
      }
      throw conflict('this pilot token is spent: it works once for each start of its job')
    }
    for (const session of before) this.#revoke(session)
    const now = this.#dispatcher.now
    const known =
      info.deadline === undefined
        ? info
        : { ...info, clock: now, deadline: toOwnClock(info.deadline, info.clock, now) }
    const {
      id,
      token: session,
      hash,
      submittedAt,
    } = this.#store.register(
      { pilot: pilot.id, restarts: info.restarts, info: JSON.stringify(known), now },
      (number) => makeToken(`w${number}`, nonce),
    )
    const worker = `w${id}`
    const opened = { worker, pilot: `p${pilot.id}`, site: pilot.site, info: known, hash, registeredAt: now }
    this.#remember(opened)
    this.#dispatcher.join(this.workerInfo(worker))
    const begunAt = toOwnClock(info.startedAt, info.clock, now)
    this.emit('registered', opened, submittedAt === null ? undefined : Math.max(0, begunAt - submittedAt))
    return { worker, session }
  }

  /** The session this token opens. @throws {ApiError} 401 for what is no session, 410 for one that has ended */
  authenticate(token: string | undefined): Session {
    const owner = token === undefined ? undefined : ownerOf(token)
    if (owner === undefined || !owner.startsWith('w')) throw unauthorised()
    const session = this.#sessions.get(owner)
    if (!session) throw revoked()
    if (!matches(token!, session.hash)) throw unauthorised()
    return session
  }

  /** What the scheduler is told of a worker. */
  workerInfo(worker: string): WorkerInfo {
    const { info } = this.#sessions.get(worker)!
    return {
      id: worker,
      node: info.node,
      slots: info.slots.length,
      ...(info.deadline === undefined ? {} : { deadline: info.deadline }),
    }
  }

  #revoke(session: Session): void {
    this.#dispatcher.lost(session.worker)
    this.#end(session.worker)
  }

  #end(worker: string): void {
    this.#sessions.delete(worker)
    this.#tellComing()
    this.#store.endWorker(numberOf(worker), this.#dispatcher.now)
  }
}

/** A time by a clock that showed `theirs` when ours showed `ours`, whatever nonsense that clock says. */
export function toOwnClock(time: number, theirs: number, ours: number): number {
  return Math.min(Math.max(0, time - theirs + ours), Number.MAX_SAFE_INTEGER)
}

const orderKey = (site: string) => `site-order ${site}`

function numberOf(id: string): number {
  return Number(id.slice(1))
}
