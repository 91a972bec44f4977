import { RegisterRequest } from '../../protocol/worker.ts'
import { inHand, standingOf } from '../../core/worker-view.ts'
import type { Demand, PilotRecord, PilotRegistry } from '../../core/pilot-registry.ts'
import type { WorkerInfo } from '../../core/scheduler-state.ts'
import type { Dispatcher } from './dispatcher.ts'
import { conflict, revoked, unauthorised } from '../http/api-errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
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

/** Pilots and the workers they boot: their tokens, sessions and what became of them. */
export class Pilots implements PilotRegistry {
  /** This factory's identity, stable over restarts. */
  readonly factoryId: string
  readonly #ledger: Ledger
  readonly #dispatcher: Dispatcher
  readonly #sessions = new Map<string, Session>()
  /** Pilots whose workers turned out to be black holes, and their nodes. */
  readonly #blackHoles = new Map<string, string>()
  /** Pilots that have not ended. */
  #open: number

  constructor(ledger: Ledger, dispatcher: Dispatcher) {
    this.#ledger = ledger
    this.#dispatcher = dispatcher
    this.factoryId = ledger.meta('factory-id', () => crypto.randomUUID().slice(0, 8))
    // The clock may have been set back since the last start: a time ahead of it would hold a pilot's place until then.
    ledger.db
      .prepare(
        `UPDATE pilots SET created_at = min(created_at, :now), submitted_at = min(submitted_at, :now),
         registered_at = min(registered_at, :now) WHERE ended_at IS NULL`,
      )
      .run({ now: dispatcher.now })
    const rows = ledger.db
      .prepare(
        `SELECT workers.id, pilot, session_hash, info, site, workers.registered_at FROM workers JOIN pilots ON pilots.id = pilot
         WHERE workers.ended_at IS NULL AND pilots.ended_at IS NULL`,
      )
      .all()
    const count = ledger.db.prepare('SELECT count(*) AS open FROM pilots WHERE ended_at IS NULL')
    this.#open = count.get()!.open as number
    for (const row of rows) {
      this.#remember({
        worker: `w${row.id as number}`,
        pilot: `p${row.pilot as number}`,
        site: row.site as string,
        info: WorkerFacts.parse(JSON.parse(row.info as string)),
        hash: row.session_hash as Uint8Array,
        registeredAt: row.registered_at as number,
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
    this.#dispatcher.state.coming = Math.max(0, this.#open - this.#sessions.size)
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
    const created = this.#transaction(() =>
      Array.from({ length: count }, () => {
        const { lastInsertRowid } = this.#ledger
          .sql(`INSERT INTO pilots (site, token_hash, created_at) VALUES (?, x'', ?)`)
          .run(site, this.#dispatcher.now)
        const pilot = `p${lastInsertRowid}`
        const { token, hash } = makeToken(pilot)
        this.#ledger.sql('UPDATE pilots SET token_hash = ? WHERE id = ?').run(hash, lastInsertRowid)
        return { pilot, token }
      }),
    )
    this.#open += count
    this.#tellComing()
    return created
  }

  /** Notes which batch job runs each pilot. */
  submitted(pilots: { pilot: string; jobId: string }[]): void {
    this.#transaction(() => {
      for (const { pilot, jobId } of pilots) {
        this.#ledger
          .sql('UPDATE pilots SET job_id = ?, submitted_at = coalesce(submitted_at, ?) WHERE id = ?')
          .run(jobId, this.#dispatcher.now, numberOf(pilot))
      }
    })
  }

  /** The site's pilots that have not ended. */
  list(site: string): PilotRecord[] {
    const workers = new Map<string, Session>()
    for (const session of this.#sessions.values()) workers.set(session.pilot, session)
    const rows = this.#ledger
      .sql(
        `SELECT id, job_id, created_at, submitted_at, registered_at FROM pilots
         WHERE site = ? AND ended_at IS NULL ORDER BY id`,
      )
      .all(site)
    return rows.map((row) => {
      const session = workers.get(`p${row.id as number}`)
      const worker = session && this.#workerOf(session)
      const blackHole = this.#blackHoles.get(`p${row.id as number}`)
      return {
        pilot: `p${row.id as number}`,
        createdAt: row.created_at as number,
        ...(row.job_id === null ? {} : { jobId: row.job_id as string }),
        ...(row.submitted_at === null ? {} : { submittedAt: row.submitted_at as number }),
        ...(row.registered_at === null ? {} : { registeredAt: row.registered_at as number }),
        ...(worker ? { worker } : {}),
        ...(blackHole === undefined ? {} : { blackHole }),
      }
    })
  }

  /** Sites that have pilots that have not ended, as far as is known. */
  sites(): string[] {
    const rows = this.#ledger.sql('SELECT DISTINCT site FROM pilots WHERE ended_at IS NULL').all()
    return rows.map(({ site }) => site as string)
  }

  #workerOf(session: Session): PilotRecord['worker'] {
    const worker = this.#dispatcher.state.workers.get(session.worker)
    if (!worker) return undefined
    const leased = inHand(worker)
    if (leased > 0) delete session.idleSince
    else session.idleSince ??= this.#dispatcher.now
    return {
      id: worker.id,
      node: worker.node,
      state: standingOf(worker),
      leased,
      ...(session.idleSince === undefined ? {} : { idleSince: session.idleSince }),
      tasksDone: worker.done,
      tasksFailed: worker.failures,
    }
  }

  /** Pilots whose jobs are gone: their tokens and sessions are void, and what they had in hand goes to others. */
  ended(pilots: { pilot: string; reason: string }[]): void {
    this.#transaction(() => {
      for (const { pilot, reason } of pilots) {
        const { changes } = this.#ledger
          .sql('UPDATE pilots SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL')
          .run(this.#dispatcher.now, reason.slice(0, 1000), numberOf(pilot))
        this.#open -= Number(changes)
      }
    })
    for (const { pilot } of pilots) this.#blackHoles.delete(pilot)
    const gone = new Set(pilots.map(({ pilot }) => pilot))
    for (const session of [...this.#sessions.values()]) if (gone.has(session.pilot)) this.#revoke(session)
    this.#tellComing()
  }

  demand(): Demand {
    const { jobs, workers, contexts, holders } = this.#dispatcher.state
    let queued = 0
    for (const job of jobs.values()) if (!contexts.get(job.context)?.broken) queued += job.queue.size
    const rates = [...workers.values()].map((worker) => worker.rate).filter((rate) => rate > 0)
    const ratePerPilot = rates.reduce((sum, rate) => sum + rate, 0) / Math.max(1, rates.length)
    return { queued, leased: holders.size, ratePerPilot }
  }

  /** Asks a pilot's worker to take no more work, finish what it has, and leave. */
  drain(pilot: string): void {
    for (const session of this.#sessions.values()) {
      if (session.pilot === pilot) this.#dispatcher.drain(session.worker)
    }
  }

  // --- what workers need

  /** The pilot whose live token this is. @throws {ApiError} 401 */
  pilotOf(token: string | undefined): { id: number; site: string; restarts: number } {
    const owner = token === undefined ? undefined : ownerOf(token)
    if (owner === undefined || !owner.startsWith('p')) throw unauthorised()
    const row = this.#ledger
      .sql('SELECT id, site, token_hash, restarts FROM pilots WHERE id = ? AND ended_at IS NULL')
      .get(numberOf(owner))
    if (!row || !matches(token!, row.token_hash as Uint8Array)) throw unauthorised()
    return { id: row.id as number, site: row.site as string, restarts: row.restarts as number }
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
    const registered = this.#transaction(() => {
      this.#ledger
        .sql('UPDATE pilots SET restarts = ?, registered_at = coalesce(registered_at, ?) WHERE id = ?')
        .run(info.restarts, now, pilot.id)
      const { lastInsertRowid } = this.#ledger
        .sql(`INSERT INTO workers (pilot, session_hash, info, registered_at) VALUES (?, x'', ?, ?)`)
        .run(pilot.id, JSON.stringify(known), now)
      const worker = `w${lastInsertRowid}`
      const { token: session, hash } = makeToken(worker, nonce)
      this.#ledger.sql('UPDATE workers SET session_hash = ? WHERE id = ?').run(hash, lastInsertRowid)
      return { worker, session, hash }
    })
    const { worker, session, hash } = registered
    this.#remember({ worker, pilot: `p${pilot.id}`, site: pilot.site, info: known, hash, registeredAt: now })
    this.#dispatcher.join(this.workerInfo(worker))
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
    this.#ledger
      .sql('UPDATE workers SET ended_at = ? WHERE id = ?')
      .run(this.#dispatcher.now, numberOf(worker))
  }

  /** Runs now, between the groups of the committer: what the factory and a registration write is rare. */
  #transaction<T>(run: () => T): T {
    const { db } = this.#ledger
    db.exec('BEGIN IMMEDIATE')
    try {
      const value = run()
      db.exec('COMMIT')
      return value
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }
}

/** A time by a clock that showed `theirs` when ours showed `ours`, whatever nonsense that clock says. */
export function toOwnClock(time: number, theirs: number, ours: number): number {
  return Math.min(Math.max(0, time - theirs + ours), Number.MAX_SAFE_INTEGER)
}

function numberOf(id: string): number {
  return Number(id.slice(1))
}
