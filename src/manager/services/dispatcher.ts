import { EventEmitter } from 'node:events'
import type { Logger } from 'pino'
import type { AnyExchangeRequest } from '../../protocol/worker.ts'
import {
  type Action,
  type Grant,
  type NewJob,
  type Reply,
  Scheduler,
  type SchedulerConfig,
  type SchedulerView,
  type WorkerGone,
  type WorkerInfo,
} from '../../core/scheduler.ts'
import { limits } from '../../protocol/primitives.ts'
import type { AnyTaskResult, TaskError } from '../../protocol/task.ts'
import { conflict } from '../http/api-errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { TakenBack } from '../ledger/task-store.ts'

/** Milliseconds since 1970 by a clock that does not jump: leases must not lapse because the clock was set. */
const steadyNow = () => Math.round(performance.timeOrigin + performance.now())

/** Time between looks at who is silent or waits too long, milliseconds. */
const TICK_MS = 200
/** A tick that is later than this comes before requests that have been waiting for as long, milliseconds. */
const STALL_MS = 500

/** Most characters of tasks in one answer, unless a single one is larger; in UTF-8 they are at most three times as many bytes. */
const ANSWER_LENGTH = limits.exchange / 4

/** What a group of results adds to a job: tasks by how they ended, and time their calls took, milliseconds. */
export interface Progress {
  done: number
  failed: number
  ms: number
}

/** What the dispatcher asks of shells. */
export interface WantedShells {
  /** Whether some are wanted of which the worker was not told yet. */
  haveNews(worker: string): boolean
  /** All that are wanted of it; it is told of them now. */
  tell(worker: string): string[]
}

/** Tasks that a worker was given together. */
export interface GrantedLease extends Pick<Grant, 'lease' | 'job' | 'context' | 'function'> {
  worker: string
}

/** How a task ended that failed. */
export type FailedResult = Pick<AnyTaskResult, 'task' | 'ms'> & {
  outcome: Extract<AnyTaskResult['outcome'], { error: TaskError }>
}

interface DispatcherEvents {
  /** Tasks up to this number, without those that were there before, wait from now on. */
  queued: [end: number]
  /** A worker gets these tasks. */
  granted: [tasks: readonly number[], lease: GrantedLease]
  /** A task has ended that took its worker so long, milliseconds. */
  ran: [ms: number]
  /** A task has failed for good, with this worker. */
  failed: [job: number, result: FailedResult, worker: string]
  /** Results of these jobs are on disk. */
  results: [jobs: Map<number, Progress>]
  'worker-gone': [worker: string, reason: 'lost' | 'left', gone: WorkerGone]
  'context-broken': [context: string, error: TaskError]
  'black-hole': [worker: string, node: string, failures: number]
}

/**
 * The shell around the scheduler: gives it events and the time, and does what it says. An exchange is answered when the
 * scheduler has something to say and every result that came with it is on disk.
 */
export class Dispatcher extends EventEmitter<DispatcherEvents> {
  readonly #scheduler: Scheduler
  /** Shells that are wanted in pilots: each answer to a worker names those that it has not opened. */
  shells: WantedShells = { haveNews: () => false, tell: () => [] }
  readonly #ledger: Ledger
  readonly #log: Logger
  readonly #now: () => number
  /** Who waits for an answer: at most one request a worker. */
  readonly #waiting = new Map<string, { resolve: (reply: Reply) => void; reject: (error: Error) => void }>()
  /**
   * The last write of results, of any worker. Writes end in order, so a request that waits for it knows that everything the scheduler
   * has settled is on disk: also what a lost answer reported before, and the result that made another one a duplicate.
   */
  #written: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout
  #tickedAt: number

  constructor(ledger: Ledger, log: Logger, config: Partial<SchedulerConfig>, now: () => number = steadyNow) {
    super()
    this.#ledger = ledger
    this.#log = log
    this.#now = now
    this.#scheduler = new Scheduler(ledger.nextStart() * 2 ** 32, config)
    this.#tickedAt = now()
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  #tick(): void {
    const now = this.now
    const lateMs = now - this.#tickedAt - TICK_MS
    this.#tickedAt = now
    if (lateMs > STALL_MS) {
      this.#log.warn({ lateMs }, 'the manager did not run for a while: is the machine overloaded?')
      this.#scheduler.excuseSilence(lateMs)
    }
    this.#apply(this.#scheduler.tick(now))
  }

  get now(): number {
    return this.#now()
  }

  /** The scheduler, to look at. */
  get view(): SchedulerView {
    return this.#scheduler
  }

  // --- jobs and tasks

  /** Adds a job, or one found in the ledger at start with `counts` of what was finished before. */
  addJob(job: NewJob, counts: { done: number; failed: number }): void {
    this.#scheduler.addJob(job, counts)
  }

  /** Queues the tasks `[start, end)`. */
  addTasks(job: number, start: number, end: number): void {
    this.emit('queued', end)
    this.#apply(this.#scheduler.addTasks(job, start, end, this.now))
  }

  /** Queues tasks that had failed once more. */
  retryTasks(job: number, tasks: number[]): void {
    this.#apply(this.#scheduler.retryTasks(job, tasks, this.now))
  }

  /** No more tasks will be added. */
  closeJob(job: number): void {
    this.#apply(this.#scheduler.closeJob(job))
  }

  /** Forgets a job and what of it waits; workers are told to drop what they have in hand. */
  cancelJob(job: number): void {
    this.#apply(this.#scheduler.cancelJob(job, this.now))
  }

  /** Ends those of these tasks that have not ended, as failed. */
  cancelTasks(job: number, tasks: number[]): void {
    this.#apply(this.#scheduler.cancelTasks(job, tasks, this.now))
  }

  /** Tries a broken context again, because a user asks for it once more. */
  trustAgain(context: string): void {
    this.#scheduler.trustAgain(context)
  }

  // --- workers

  /** So many pilots were submitted whose workers have not registered yet. */
  expectPilots(count: number): void {
    this.#scheduler.expectPilots(count)
  }

  /** A worker registered, or its session is used again after we were restarted or had given it up. */
  join(worker: WorkerInfo): void {
    this.#scheduler.join(worker, this.now)
  }

  /**
   * Takes in a request and waits for its answer, as JSON.
   * @param accepted called at once if it is not older than one already seen
   * @throws {ApiError} 409 for a request older than one already seen, or replaced by a newer one
   */
  async exchange(worker: WorkerInfo, request: AnyExchangeRequest, accepted = () => {}): Promise<string> {
    if (!this.#scheduler.hasWorker(worker.id)) this.join(worker)
    const actions = this.#scheduler.exchange(worker.id, request, this.now)
    if (typeof actions === 'string') {
      throw conflict(`request ${request.seq} is ${actions}: a newer one was seen`)
    }
    accepted()
    this.#waiting.get(worker.id)?.reject(conflict('replaced by a newer request of this worker'))
    const reply = new Promise<Reply>((resolve, reject) => this.#waiting.set(worker.id, { resolve, reject }))
    this.#apply(actions)
    if (this.shells.haveNews(worker.id)) this.nudge(worker.id)
    const written = request.results.length > 0 ? this.#written : undefined
    const answer = await reply
    await written
    return this.#encode(worker.id, answer)
  }

  /** The connection of a worker broke; a request it has open can no longer be answered. */
  disconnected(worker: string): void {
    this.#waiting.get(worker)?.reject(conflict('the connection broke'))
    this.#waiting.delete(worker)
    this.#scheduler.disconnected(worker, this.now)
  }

  drain(worker: string): void {
    this.#apply(this.#scheduler.drain(worker, this.now))
  }

  /** Answers the worker's open request, if it has one: there is something for it besides work. */
  nudge(worker: string): void {
    this.#apply(this.#scheduler.nudge(worker, this.now))
  }

  warmAhead(context: string): void {
    this.#apply(this.#scheduler.warmAhead(context, this.now))
  }

  dropEverywhere(context: string): void {
    this.#apply(this.#scheduler.dropEverywhere(context, this.now))
  }

  /** These tasks are none of the job's any more. */
  takeBack(job: number, tasks: readonly TakenBack[]): void {
    this.#apply(this.#scheduler.takeBack(job, tasks, this.now))
  }

  /** The worker's batch job is over. */
  lost(worker: string): void {
    this.#apply(this.#scheduler.lost(worker, this.now))
  }

  /** Does what the scheduler says. */
  #apply(actions: Action[]): void {
    const records: Extract<Action, { type: 'record' }>[] = []
    for (const action of actions) {
      switch (action.type) {
        case 'record':
          records.push(action)
          break
        case 'reply':
          this.#waiting.get(action.worker)?.resolve(action.reply)
          this.#waiting.delete(action.worker)
          break
        case 'worker-gone':
          this.#log.info(action, 'worker gone')
          this.emit('worker-gone', action.worker, action.reason, action)
          break
        case 'context-broken':
          this.emit('context-broken', action.context, action.error)
          break
        case 'black-hole':
          this.#log.warn(action, 'the worker only fails tasks that others do: it is drained')
          this.emit('black-hole', action.worker, action.node, action.failures)
          break
        case 'job-finished':
          break
      }
    }
    if (records.length > 0) this.#record(records)
  }

  #record(records: Extract<Action, { type: 'record' }>[]): void {
    this.#written = this.#ledger.results.add(records).then((dropped) => {
      const jobs = new Map<number, Progress>()
      for (const { job, result, worker } of records) {
        if (dropped.has(result.task)) {
          this.takeBack(job, [
            { task: result.task, ended: result.outcome.status === 'done' ? 'done' : 'failed' },
          ])
          continue
        }
        const progress = jobs.get(job) ?? { done: 0, failed: 0, ms: 0 }
        if (result.outcome.status === 'done') progress.done++
        else progress.failed++
        if ('error' in result.outcome)
          this.emit('failed', job, { ...result, outcome: result.outcome }, worker)
        progress.ms += result.ms
        this.emit('ran', result.ms)
        jobs.set(job, progress)
      }
      this.emit('results', jobs)
    })
    // Requests that wait for it get the error too; without any it must not end the process.
    this.#written.catch((error: unknown) => this.#log.error({ err: error }, 'results were not written'))
  }

  /**
   * The answer as JSON; inputs go from the ledger to the wire as the text they are. Tasks whose inputs would make it longer
   * than a worker accepts are given back.
   */
  #encode(worker: string, { leases, ...rest }: Reply): string {
    let room = ANSWER_LENGTH
    const texts: string[] = []
    for (const { tasks, ...lease } of leases) {
      const inputs =
        room > 0
          ? this.#ledger.tasks.inputs(
              tasks.map(({ task }) => task),
              room,
            )
          : []
      this.emit(
        'granted',
        inputs.map(({ task }) => task),
        { worker, ...lease },
      )
      const isAlone = new Set(tasks.filter(({ alone }) => alone).map(({ task }) => task))
      const items = inputs.map(({ task, text, blobs }) => {
        const alone = isAlone.has(task)
        return `{"task":${task},"input":${text}${blobs === null ? '' : `,"blobs":${blobs}`}${alone ? ',"alone":true' : ''}}`
      })
      const text = items.join(',')
      room -= text.length
      if (items.length > 0) texts.push(`${JSON.stringify(lease).slice(0, -1)},"tasks":[${text}]}`)
      const left = tasks
        .slice(tasks.findIndex(({ task }) => task === inputs.at(-1)?.task) + 1)
        .map(({ task }) => task)
      if (left.length > 0) this.#apply(this.#scheduler.giveBack(worker, lease.lease, left, this.now))
    }
    const shells = this.shells.tell(worker)
    const told = shells.length > 0 ? { ...rest, shells } : rest
    return `${JSON.stringify(told).slice(0, -1)},"leases":[${texts.join(',')}]}`
  }

  close(): void {
    clearInterval(this.#timer)
    for (const { reject } of this.#waiting.values()) reject(conflict('the manager is stopping'))
    this.#waiting.clear()
  }
}
