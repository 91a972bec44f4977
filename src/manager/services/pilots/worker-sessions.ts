import { EventEmitter } from 'node:events'
import type { PilotRecord } from '../../../core/interfaces/pilot-registry.ts'
import type { WorkerInfo } from '../../../core/scheduler.ts'
import { RegisterRequest } from '../../../protocol/worker.ts'
import { numberOf, type PilotStore } from '../../ledger/pilot-store.ts'
import { conflict, revoked, unauthorised } from '../../http/api-errors.ts'
import type { Dispatcher } from '../dispatcher.ts'
import { makeToken, matches, ownerOf } from '../tokens.ts'

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

interface SessionEvents {
  /**
   * @param queuedMs how long the pilot had been submitted before it began, by the manager's clock; unknown for one that began
   *   again, since the queue alone knows when it came back to it
   */
  registered: [session: Session, queuedMs: number | undefined]
  /** There is one more, or one less. */
  changed: []
}

/** Sessions of workers: who holds a pilot's token opens one, and speaks for its worker until that has left or is given up. */
export class WorkerSessions extends EventEmitter<SessionEvents> {
  readonly #store: PilotStore
  readonly #dispatcher: Dispatcher
  readonly #sessions = new Map<string, Session>()
  /** How pilots that have not ended parted from their last worker. */
  readonly #parted = new Map<string, NonNullable<PilotRecord['parted']>>()

  constructor(store: PilotStore, dispatcher: Dispatcher) {
    super()
    this.#store = store
    this.#dispatcher = dispatcher
    store.bringTimesBack(dispatcher.now)
    for (const { id, pilot, site, info, sessionHash, registeredAt } of store.openWorkers()) {
      this.#sessions.set(`w${id}`, {
        worker: `w${id}`,
        pilot: `p${pilot}`,
        site,
        info: WorkerFacts.parse(JSON.parse(info)),
        hash: sessionHash,
        registeredAt,
      })
    }
    dispatcher.on('worker-gone', (worker, how) => {
      const session = this.#sessions.get(worker)
      if (session) this.#parted.set(session.pilot, { how, at: dispatcher.now })
      if (how === 'left') this.#end(worker)
    })
  }

  /** Those that are valid: workers that run, or may come back. */
  get all(): Iterable<Session> {
    return this.#sessions.values()
  }

  get count(): number {
    return this.#sessions.size
  }

  /** How a pilot parted from its last worker; undefined before that, and once it has begun again. */
  partedFrom(pilot: string): PilotRecord['parted'] {
    return this.#parted.get(pilot)
  }

  find(worker: string): Session | undefined {
    return this.#sessions.get(worker)
  }

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
    this.#parted.delete(`p${pilot.id}`)
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
    this.#sessions.set(worker, opened)
    this.emit('changed')
    this.#dispatcher.join(this.workerInfo(worker))
    const begunAt = toOwnClock(info.startedAt, info.clock, now)
    const queuedMs =
      submittedAt === null || info.restarts > 0 ? undefined : Math.max(0, begunAt - submittedAt)
    this.emit('registered', opened, queuedMs)
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

  /** Ends the sessions of these pilots: what their workers had in hand goes to others. */
  revoke(pilots: readonly string[]): void {
    const gone = new Set(pilots)
    for (const session of [...this.#sessions.values()]) if (gone.has(session.pilot)) this.#revoke(session)
    for (const pilot of pilots) this.#parted.delete(pilot)
  }

  #revoke(session: Session): void {
    this.#dispatcher.lost(session.worker)
    this.#end(session.worker)
  }

  #end(worker: string): void {
    this.#sessions.delete(worker)
    this.emit('changed')
    this.#store.endWorker(numberOf(worker), this.#dispatcher.now)
  }
}

/** A time by a clock that showed `theirs` when ours showed `ours`, whatever nonsense that clock says. */
export function toOwnClock(time: number, theirs: number, ours: number): number {
  return Math.min(Math.max(0, time - theirs + ours), Number.MAX_SAFE_INTEGER)
}
