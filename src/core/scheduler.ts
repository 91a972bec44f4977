import type { JobExplanation } from '../protocol/explanation.ts'
import type { TaskError } from '../protocol/task.ts'
import type { AnyExchangeRequest } from '../protocol/worker.ts'
import type { Demand } from './interfaces/pilot-registry.ts'
import {
  addJob,
  addTasks,
  cancelJob,
  cancelTasks,
  closeJob,
  disconnected,
  drain,
  dropEverywhere,
  exchange,
  excuseSilence,
  giveBack,
  join,
  lost,
  nudge,
  type NewJob,
  retryTasks,
  takeBack,
  tick,
  trustAgain,
  warmAhead,
} from './scheduler/transitions.ts'
import { demandOf } from './scheduler/demand.ts'
import { explainJob } from './scheduler/job-explanation.ts'
import type { JobSnapshot } from './scheduler/job-snapshot.ts'
import {
  type Action,
  createScheduler,
  type SchedulerConfig,
  type SchedulerState,
  type WorkerInfo,
} from './scheduler/state.ts'
import { isAnyQueued } from './scheduler/task-queues.ts'
import { busySince, inHand, standingOf } from './scheduler/worker-view.ts'

export type { NewJob } from './scheduler/transitions.ts'
export type { Action, Grant, Reply, SchedulerConfig, WorkerGone, WorkerInfo } from './scheduler/state.ts'

/** A worker as others see it. Times are milliseconds on the manager's clock. */
export interface WorkerView {
  readonly id: string
  readonly node: string
  readonly standing: 'active' | 'suspect' | 'draining'
  /** Tasks per second, as it measured last. */
  readonly rate: number
  /** Tasks in its hands, and when it was given the oldest of them. */
  readonly leased: number
  readonly busySince: number | undefined
  readonly done: number
  /** Failures since it last finished a task. */
  readonly failures: number
  readonly heardAt: number
}

/** A task that has not ended: which attempt it is, and with whom it is. */
export interface TaskView {
  /** From 1. */
  readonly attempt: number
  /** Absent while it waits. */
  readonly lease?: { readonly worker: string; readonly grantedAt: number }
}

/** A context that some job was ever made in. */
export interface ContextView {
  /** Open jobs, by number. */
  readonly jobs: readonly number[]
  /** Its setup has only ever failed, for this reason. */
  readonly broken: TaskError | undefined
  /** It was loaded somewhere at some time. */
  readonly everReady: boolean
  readonly queued: number
  readonly leased: number
  /** Workers told to work for it, and those that hold it loaded and do. */
  readonly assigned: number
  readonly ready: number
}

/** What was counted since the manager started. */
export type SchedulerCounts = Readonly<SchedulerState['counts']>

/** The scheduler as those see it who only look. */
export type SchedulerView = Pick<
  Scheduler,
  | 'worker'
  | 'hasWorker'
  | 'hasJob'
  | 'hasQueued'
  | 'task'
  | 'jobHeld'
  | 'context'
  | 'counts'
  | 'queued'
  | 'leased'
  | 'demand'
  | 'explain'
>

/**
 * The scheduler: events and the time go in, actions come out. Who calls it does the actions, in order: the manager for real, a
 * simulation on a virtual clock. It does no I/O, reads no clock, and throws on nothing that a worker says. Its state is its
 * own; what others may know of it they read from views.
 */
export class Scheduler {
  readonly #state: SchedulerState

  /** @param firstLease fencing numbers start here; must be above every number ever given out before */
  constructor(firstLease: number, config: Partial<SchedulerConfig> = {}) {
    this.#state = createScheduler(firstLease, config)
  }

  // --- jobs and tasks

  /** Adds a job, or one found in the ledger at start with `counts` of what was finished before. */
  addJob(job: NewJob, counts?: { done: number; failed: number }): void {
    addJob(this.#state, job, counts)
  }

  /** Queues the tasks `[start, end)`. */
  addTasks(job: number, start: number, end: number, now: number): Action[] {
    return addTasks(this.#state, job, start, end, now)
  }

  /** Queues tasks that had failed once more. */
  retryTasks(job: number, tasks: number[], now: number): Action[] {
    return retryTasks(this.#state, job, tasks, now)
  }

  /** No more tasks will be added. */
  closeJob(job: number): Action[] {
    return closeJob(this.#state, job)
  }

  /** Forgets a job and what of it waits; workers are told to drop what they have in hand. */
  cancelJob(job: number, now: number): Action[] {
    return cancelJob(this.#state, job, now)
  }

  /** Ends those of these tasks that have not ended, as failed; workers are told to drop what they have in hand. */
  cancelTasks(job: number, tasks: number[], now: number): Action[] {
    return cancelTasks(this.#state, job, tasks, now)
  }

  /** Takes tasks from a job as if it never had them, whether they wait, run or have ended. */
  takeBack(job: number, tasks: Parameters<typeof takeBack>[2], now: number): Action[] {
    return takeBack(this.#state, job, tasks, now)
  }

  /** Tries a broken context again, because a user asks for it once more. */
  trustAgain(context: string): void {
    trustAgain(this.#state, context)
  }

  /** Brings a context's files to every worker that has nothing else to fetch, also to those yet to come. */
  warmAhead(context: string, now: number): Action[] {
    return warmAhead(this.#state, context, now)
  }

  /** Has a context, of which no job is left, gone from all workers: from memory and from disk. */
  dropEverywhere(context: string, now: number): Action[] {
    return dropEverywhere(this.#state, context, now)
  }

  // --- workers

  /** A worker registered, or came back after the manager was restarted or had given it up. */
  join(worker: WorkerInfo, now: number): void {
    join(this.#state, worker, now)
  }

  /**
   * One request of a worker. Its answer is among the actions of this or of a later call, at the latest of the first
   * {@link tick} after its `waitMs`.
   * @returns `stale` for a request older than one already seen: it is to be refused, and changes nothing
   */
  exchange(worker: string, request: AnyExchangeRequest, now: number): Action[] | 'stale' | 'unknown' {
    return exchange(this.#state, worker, request, now)
  }

  /** Takes tasks out of a lease again that the worker has not been told of yet. */
  giveBack(worker: string, lease: number, tasks: number[], now: number): Action[] {
    return giveBack(this.#state, worker, lease, tasks, now)
  }

  /** The worker's connection broke. It may come back; if it does not soon, it is gone. */
  disconnected(worker: string, now: number): void {
    disconnected(this.#state, worker, now)
  }

  /** Asks a worker to finish what it has and leave. */
  drain(worker: string, now: number): Action[] {
    return drain(this.#state, worker, now)
  }

  /** There is something for a worker besides work: an open request of it is answered at once. */
  nudge(worker: string, now: number): Action[] {
    return nudge(this.#state, worker, now)
  }

  /** The batch system says that the worker's job is over. */
  lost(worker: string, now: number): Action[] {
    return lost(this.#state, worker, now)
  }

  /** So many pilots were submitted whose workers have not registered yet. */
  expectPilots(count: number): void {
    this.#state.coming = count
  }

  // --- time

  /** Time passed: open requests run out, silent workers are given up, failed setups are tried again. Call it a few times a second. */
  tick(now: number): Action[] {
    return tick(this.#state, now)
  }

  /** Nothing ran for `ms`, so that workers that seemed silent may not have been: it is not held against them. */
  excuseSilence(ms: number): void {
    excuseSilence(this.#state, ms)
  }

  // --- views

  worker(id: string): WorkerView | undefined {
    const worker = this.#state.workers.get(id)
    if (!worker) return undefined
    const { node, rate, done, failures, heardAt } = worker
    const standing = standingOf(worker)
    return {
      id,
      node,
      standing,
      rate,
      leased: inHand(worker),
      busySince: busySince(worker),
      done,
      failures,
      heardAt,
    }
  }

  hasWorker(id: string): boolean {
    return this.#state.workers.has(id)
  }

  hasJob(job: number): boolean {
    return this.#state.jobs.has(job)
  }

  /** Whether any task waits for a worker. */
  hasQueued(): boolean {
    return isAnyQueued(this.#state)
  }

  /** Undefined if the task is none of the job's, or has ended. */
  task(job: number, task: number): TaskView | undefined {
    const found = this.#state.jobs.get(job)
    const holder = this.#state.holders.get(task)
    const lease = holder?.job === found ? holder : undefined
    if (!found || (!lease && !found.queue.has(task))) return undefined
    const { errors = 0, crashes = 0 } = found.faults.get(task) ?? {}
    return {
      attempt: 1 + errors + crashes,
      ...(lease && { lease: { worker: lease.worker, grantedAt: lease.grantedAt } }),
    }
  }

  /** The job of a task, if the worker holds it under that lease. */
  jobHeld(task: number, worker: string, lease: number): number | undefined {
    const holder = this.#state.holders.get(task)
    return holder?.worker === worker && holder.id === lease ? holder.job.id : undefined
  }

  context(id: string): ContextView | undefined {
    const context = this.#state.contexts.get(id)
    if (!context) return undefined
    const { jobs, broken, everReady, queued, leased, assigned, ready } = context
    return { jobs: jobs.map((job) => job.id), broken, everReady, queued, leased, assigned, ready }
  }

  get counts(): SchedulerCounts {
    return this.#state.counts
  }

  /** Tasks that wait, in all jobs. */
  get queued(): number {
    let queued = 0
    for (const job of this.#state.jobs.values()) queued += job.queue.size
    return queued
  }

  /** Tasks in workers' hands. */
  get leased(): number {
    return this.#state.holders.size
  }

  /** Why a job, or one task of it, is not running or not finished. */
  explain(about: Omit<JobSnapshot, 'state'>): JobExplanation {
    return explainJob({ ...about, state: this.#state })
  }

  /** What there is to do for pilots, without what no pilot could do, and how fast one does it, or did when one was there. */
  demand(): Demand {
    return demandOf(this.#state)
  }
}
