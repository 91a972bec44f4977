import { createPeerTable, noteFetchEnd, noteHolder, noteGone } from '../../src/core/peer-selection.ts'
import {
  addJob,
  addTasks,
  closeJob,
  createScheduler,
  disconnected,
  drain,
  excuseSilence,
  join,
} from '../../src/core/scheduler/transitions.ts'
import type { Action, Reply, SchedulerState, WorkerInfo } from '../../src/core/scheduler/state.ts'
import { demandOf } from '../../src/core/scheduler/demand.ts'
import type { Demand, PilotRecord } from '../../src/core/interfaces/pilot-registry.ts'
import type { AnyTaskResult } from '../../src/protocol/task.ts'
import type { Fault } from '../../src/protocol/piece-sources.ts'
import type { ExchangeRequest } from '../../src/protocol/worker.ts'
import { toOwnClock } from '../../src/manager/services/pilots/worker-sessions.ts'
import type { Core } from './planted-bugs.ts'
import type { TaskKind } from './run-plan.ts'
import type { SimRun } from './sim-run.ts'

/** The one bundle that all contexts need. */
const BUNDLE = 'b'.repeat(64)
/** Where its clock stands when the world begins, milliseconds. */
const EPOCH = 1e12
/** So many accusers are enough. */
const ACCUSERS = 2

const TICK_MS = 200

/** What a worker gets back: an answer, or a refusal with its HTTP status; nothing at all if it is lost on the way. */
export type Answered = (answer: Reply | { status: 401 | 409 | 410 }) => void

interface DurableJob {
  id: number
  tasks: number[]
  closed: boolean
}

interface DurablePilot extends PilotRecord {
  restarts: number
  ended: boolean
}

/**
 * The manager with everything but the scheduler played: a ledger that holds what was committed, and a process that
 * forgets the rest when it is killed.
 */
export class SimManager {
  readonly #run: SimRun
  readonly #core: Core
  // --- on disk
  readonly jobs = new Map<number, DurableJob>()
  readonly kinds = new Map<number, TaskKind>()
  readonly keys = new Map<string, number>()
  readonly results = new Map<number, AnyTaskResult['outcome']>()
  readonly pilots = new Map<string, DurablePilot>()
  readonly sessions = new Map<string, WorkerInfo & { pilot: string }>()
  /** Tasks that were given to a second worker while the first still had them. */
  copied = 0
  #epoch = 0
  #nextTask = 1
  #nextPilot = 1
  #nextWorker = 1
  // --- in memory
  state!: SchedulerState
  #session = 0
  #frozenUntil = 0
  /** How far its clock is ahead of the world's, milliseconds: another time at each start. */
  #clock = EPOCH
  #peerTable = createPeerTable()
  /** Who was accused of wrong bytes by whom: the independent record. */
  #accused = new Map<string, Set<string>>()
  #waiting = new Map<string, Answered>()
  /** To whom each task was given last: to two workers if it runs twice. */
  readonly #granted = new Map<number, string[]>()
  #written = new Map<string, number>()

  constructor(run: SimRun, core: Core) {
    this.#run = run
    this.#core = core
    this.start()
  }

  get up(): boolean {
    return this.#session > 0 && this.#run.time.now >= this.#frozenUntil
  }

  /** Starts from what is on disk. */
  start(): void {
    const session = ++this.#epoch
    this.#session = session
    const { random, clockJump } = this.#run.plan
    if (session > 1) this.#clock = EPOCH + random.between(-clockJump, clockJump)
    this.#peerTable = createPeerTable()
    this.#accused.clear()
    for (const pilot of this.pilots.values()) {
      pilot.createdAt = Math.min(pilot.createdAt, this.now)
      if (pilot.submittedAt !== undefined) pilot.submittedAt = Math.min(pilot.submittedAt, this.now)
    }
    this.state = createScheduler(session * 2 ** 32)
    for (const job of this.jobs.values()) {
      const ended = job.tasks.filter((task) => this.results.has(task))
      const done = ended.filter((task) => this.results.get(task)!.status === 'done').length
      this.#schedule(job.id, { done, failed: ended.length - done })
      for (const task of job.tasks) {
        if (!this.results.has(task)) this.apply(addTasks(this.state, job.id, task, task + 1, this.now))
      }
      if (job.closed) this.apply(closeJob(this.state, job.id))
    }
    let tickedAt = this.now
    this.#run.time.every(TICK_MS, () => {
      if (this.#session !== session) return false
      if (!this.up) return true
      const lateMs = this.now - tickedAt - TICK_MS
      tickedAt = this.now
      if (lateMs > 0) excuseSilence(this.state, lateMs)
      this.state.coming = this.listPilots().filter(({ worker }) => !worker).length
      this.apply(this.#core.tick(this.state, this.now))
      return true
    })
  }

  /** `kill -9`: what is not on disk is gone, requests get no answer. */
  kill(): void {
    this.#session = 0
    this.#waiting.clear()
    this.#written.clear()
  }

  /** The process stops for a while, as under SIGSTOP or on a machine that swaps. */
  freeze(ms: number): void {
    this.#frozenUntil = this.#run.time.now + ms
  }

  /** By its own clock, which moves on evenly while it runs, milliseconds. */
  get now(): number {
    return this.#run.time.now + this.#clock
  }

  #schedule(id: number, counts?: { done: number; failed: number }): void {
    const { retries, contexts } = this.#run.plan
    const context = String(id % contexts).repeat(64)
    addJob(this.state, { id, context, function: 'f', priority: 0, retries }, counts)
  }

  // --- clients

  /** Adds tasks; `acknowledge` is called once they are on disk. */
  add(jobId: number, tasks: { key: string; kind: TaskKind }[], acknowledge: () => void): void {
    this.#commit(() => {
      if (!this.jobs.has(jobId)) {
        this.jobs.set(jobId, { id: jobId, tasks: [], closed: false })
        this.#schedule(jobId)
      }
      for (const { key, kind } of tasks) {
        if (this.keys.has(key)) continue
        const task = this.#nextTask++
        this.keys.set(key, task)
        this.kinds.set(task, kind)
        this.jobs.get(jobId)!.tasks.push(task)
        this.apply(addTasks(this.state, jobId, task, task + 1, this.now))
      }
      acknowledge()
    })
  }

  close(jobId: number): void {
    this.jobs.get(jobId)!.closed = true
    this.apply(closeJob(this.state, jobId))
  }

  // --- workers

  /** `clock` is the time on the worker's node, by which its deadline is given. */
  register(
    pilot: string,
    restarts: number,
    { deadline: theirs, ...rest }: Omit<WorkerInfo, 'id'>,
    clock: number,
  ): string | undefined {
    const deadline = theirs === undefined ? {} : { deadline: toOwnClock(theirs, clock, this.now) }
    const info = { ...rest, ...deadline }
    const record = this.pilots.get(pilot)
    if (!record || record.ended || restarts <= record.restarts) return undefined
    for (const [id, session] of this.sessions) if (session.pilot === pilot) this.#revoke(id)
    record.restarts = restarts
    record.registeredAt ??= this.now
    const id = `w${this.#nextWorker++}`
    this.sessions.set(id, { ...info, id, pilot })
    join(this.state, { ...info, id }, this.now)
    return id
  }

  exchange(worker: string, request: ExchangeRequest, answered: Answered): void {
    const session = this.sessions.get(worker)
    if (!session) return answered({ status: 410 })
    if (!this.state.workers.has(worker)) join(this.state, session, this.now)
    if (request.contexts.some(({ level }) => level !== 'absent')) {
      noteHolder(this.#peerTable, worker, BUNDLE)
      noteFetchEnd(this.#peerTable, worker, BUNDLE)
    }
    this.#waiting.get(worker)?.({ status: 409 })
    this.#waiting.set(worker, answered)
    const actions = this.#core.exchange(this.state, worker, request, this.now)
    if (typeof actions === 'string') {
      this.#waiting.delete(worker)
      return answered({ status: 409 })
    }
    this.apply(actions)
  }

  /** Peers that a worker may fetch from, after it has told of those that failed it. */
  sources(worker: string, faults: Pick<Fault, 'source' | 'reason'>[]): string[] {
    for (const { source, reason } of faults) {
      if (reason !== 'corrupt' || !this.sessions.has(source)) continue
      this.#core.accuse(this.#peerTable, source, worker)
      this.#accused.set(source, (this.#accused.get(source) ?? new Set()).add(worker))
    }
    const without = new Set(faults.map(({ source }) => source))
    const { random } = this.#run.plan
    const named = this.#core.neighboursFor(this.#peerTable, worker, BUNDLE, without, () => random.next())
    noteHolder(this.#peerTable, worker, BUNDLE)
    for (const name of named) {
      if (name === worker) this.#run.fail(`${worker} is sent to itself`)
      if (!this.sessions.has(name)) this.#run.fail(`${worker} is sent to ${name}, who is gone`)
      if ((this.#accused.get(name)?.size ?? 0) >= ACCUSERS) {
        this.#run.fail(`${worker} is sent to ${name}, who has served others wrong bytes`)
      }
    }
    return named
  }

  disconnected(worker: string): void {
    this.#waiting.delete(worker)
    disconnected(this.state, worker, this.now)
  }

  #revoke(worker: string): void {
    this.sessions.delete(worker)
    this.#forget(worker)
    this.apply(this.#core.lost(this.state, worker, this.now))
  }

  apply(actions: Action[]): void {
    const records = actions.filter((action) => action.type === 'record')
    if (records.length > 0) this.#record(records)
    for (const action of actions) {
      if (action.type === 'reply') this.#reply(action.worker, action.reply)
      else if (action.type === 'worker-gone') {
        if (action.reason === 'left') this.sessions.delete(action.worker)
        this.#forget(action.worker)
      }
    }
  }

  #forget(worker: string): void {
    noteGone(this.#peerTable, worker)
    this.#accused.delete(worker)
  }

  #record(records: Extract<Action, { type: 'record' }>[]): void {
    for (const { result, worker } of records) {
      if (this.results.has(result.task)) this.#run.fail(`task ${result.task} ended twice`)
      const holders = this.#granted.get(result.task) ?? []
      if (result.outcome.status !== 'done' && !holders.includes(worker)) {
        this.#run.fail(`task ${result.task} failed by the word of ${worker}, but ${holders.join()} has it`)
      }
    }
    const writers = new Set(records.map(({ worker }) => worker))
    for (const worker of writers) this.#written.set(worker, (this.#written.get(worker) ?? 0) + 1)
    this.#commit(() => {
      for (const { result } of records) {
        if (this.results.has(result.task)) this.#run.fail(`task ${result.task} was written twice`)
        this.results.set(result.task, result.outcome)
      }
      for (const worker of writers) this.#written.set(worker, (this.#written.get(worker) ?? 1) - 1)
    })
  }

  /** An answer leaves only when the worker's results are on disk. */
  #reply(worker: string, reply: Reply): void {
    const answered = this.#waiting.get(worker)
    this.#waiting.delete(worker)
    for (const { lease, tasks } of reply.leases) {
      for (const { task } of tasks) {
        const isCopy = this.state.copies.get(task)?.id === lease
        if (isCopy) this.copied++
        this.#granted.set(task, isCopy ? [...(this.#granted.get(task) ?? []), worker] : [worker])
      }
    }
    const deadline = this.sessions.get(worker)?.deadline
    if (reply.leases.length > 0 && deadline !== undefined && deadline <= this.now) {
      this.#run.fail(`${worker} got work after its deadline`)
    }
    const session = this.#session
    const send = () => {
      if (this.#session !== session) return
      if ((this.#written.get(worker) ?? 0) > 0) this.#run.time.after(1, send)
      else answered?.(reply)
    }
    send()
  }

  /** Does `write` after the time a disk takes, unless the process is killed before. */
  #commit(write: () => void): void {
    const session = this.#session
    this.#run.time.after(this.#run.plan.random.between(1, 15), () => {
      if (this.#session === session) write()
    })
  }

  // --- the factory's registry

  createPilots(count: number): string[] {
    return Array.from({ length: count }, () => {
      const pilot = `p${this.#nextPilot++}`
      this.pilots.set(pilot, { pilot, createdAt: this.now, restarts: -1, ended: false })
      return pilot
    })
  }

  listPilots(): PilotRecord[] {
    const workers = new Map([...this.sessions.values()].map((session) => [session.pilot, session.id]))
    return [...this.pilots.values()]
      .filter(({ ended }) => !ended)
      .map((record) => {
        const worker = this.state.workers.get(workers.get(record.pilot) ?? '')
        if (!worker) return record
        let leased = 0
        for (const lease of worker.leases.values()) leased += lease.open
        const state = worker.draining || worker.leaving ? 'draining' : 'active'
        const { id, node, done, failures } = worker
        return { ...record, worker: { id, node, state, leased, tasksDone: done, tasksFailed: failures } }
      })
  }

  endPilots(pilots: string[]): void {
    for (const pilot of pilots) {
      this.pilots.get(pilot)!.ended = true
      for (const [id, session] of this.sessions) if (session.pilot === pilot) this.#revoke(id)
    }
  }

  drain(pilot: string): void {
    for (const [id, session] of this.sessions) {
      if (session.pilot === pilot) this.apply(drain(this.state, id, this.now))
    }
  }

  demand(): Demand {
    return demandOf(this.state)
  }
}
