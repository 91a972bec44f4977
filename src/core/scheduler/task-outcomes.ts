import type { AnyTaskResult } from '../../protocol/task.ts'
import { enqueue, withdraw } from './task-queues.ts'
import {
  type Action,
  contextOf,
  type Faults,
  type Job,
  type LeaseRecord,
  type SchedulerState,
  type Worker,
} from './state.ts'
import { excuseFailure, isBlackHole, noteFailure, noteSuccess } from './worker-trial.ts'

/**
 * Takes in one outcome. A value is a value: the first one for an unfinished task wins, even from a lease that lapsed.
 * Every other outcome counts only under a lease that the task runs under now.
 */
export function settleOutcome(
  state: SchedulerState,
  worker: Worker,
  result: AnyTaskResult,
  now: number,
  actions: Action[],
): void {
  if (result.outcome.status === 'done') {
    const job = state.holders.get(result.task)?.job ?? queuedIn(state, result.task)
    if (!job) state.counts.duplicates++
    else {
      noteSuccess(state, worker, job.faults.get(result.task))
      finish(state, worker.id, job, result, actions)
    }
    return
  }
  const lease = leasesOf(state, result.task).find(({ id }) => id === result.lease)
  if (lease?.worker !== worker.id) return
  if (result.outcome.status === 'returned') handBack(state, worker, lease, result.task)
  else charge(state, worker, lease, result, now, actions)
}

function handBack(state: SchedulerState, worker: Worker, lease: LeaseRecord, task: number): void {
  const { id } = lease.job
  if (giveUp(state, lease, task) && worker.leaving)
    worker.handedBack.set(id, (worker.handedBack.get(id) ?? 0) + 1)
}

/** The leases under which a task runs: none, one, or two. */
function leasesOf(state: SchedulerState, task: number): LeaseRecord[] {
  return [state.holders.get(task), state.copies.get(task)].filter((lease) => lease !== undefined)
}

/** The job in which a task waits that no worker holds: its lease lapsed, or the manager was restarted. */
function queuedIn(state: SchedulerState, task: number): Job | undefined {
  for (const job of state.jobs.values()) if (job.queue.has(task)) return job
  return undefined
}

/** Counts a failure against the task, and gives it another try or sets it aside. */
function charge(
  state: SchedulerState,
  worker: Worker,
  lease: LeaseRecord,
  result: AnyTaskResult,
  now: number,
  actions: Action[],
): void {
  const { job } = lease
  const faults = job.faults.get(result.task) ?? { errors: 0, crashes: 0, excuses: 0 }
  job.faults.set(result.task, faults)
  const onTrial = noteFailure(state, worker, now)
  const final = result.outcome.status === 'crash' ? crashed(state, faults) : erred(worker, job, faults)
  faults.failedOn = worker.id
  if (final) finish(state, worker.id, job, result, actions)
  else giveUp(state, lease, result.task)
  // What else it has in hand is for others to try.
  if (onTrial) for (const held of [...worker.leases.values()]) revokeLease(state, held)
  if (isBlackHole(worker, job)) {
    worker.draining = true
    actions.push({ type: 'black-hole', worker: worker.id, node: worker.node, failures: worker.failures })
  }
}

function crashed(state: SchedulerState, faults: Faults): boolean {
  return ++faults.crashes >= state.config.maxCrashes
}

function erred(worker: Worker, job: Job, faults: Faults): boolean {
  return !excuseFailure(worker, faults) && ++faults.errors > job.retries
}

function finish(
  state: SchedulerState,
  worker: string,
  job: Job,
  result: AnyTaskResult,
  actions: Action[],
): void {
  for (const lease of leasesOf(state, result.task)) {
    end(state, lease, result.task)
    if (lease.id !== result.lease) drop(state, lease, [result.task])
  }
  withdraw(state, job, result.task)
  job.faults.delete(result.task)
  if (result.outcome.status === 'done') job.done++
  else job.failed++
  actions.push({ type: 'record', job: job.id, result, worker })
  endIfComplete(state, job, actions)
}

/** What became of a task that was cancelled by itself: no lease has this number, and no worker this name. */
const cancelled = (task: number): AnyTaskResult => ({
  task,
  lease: 0,
  outcome: { status: 'error', error: { name: 'Cancelled', message: 'it is no longer needed' } },
  ms: 0,
})

/** Ends one unfinished task of a job as failed. */
export function cancelTask(state: SchedulerState, job: Job, task: number, actions: Action[]): void {
  if (!job.queue.has(task) && state.holders.get(task)?.job !== job) return
  finish(state, '', job, cancelled(task), actions)
}

/** Takes one unfinished task from its job without an outcome. */
export function unmake(state: SchedulerState, job: Job, task: number): void {
  for (const lease of leasesOf(state, task)) {
    end(state, lease, task)
    drop(state, lease, [task])
  }
  withdraw(state, job, task)
  job.faults.delete(task)
}

/** A job ends when no more tasks will come and none is left. */
export function endIfComplete(state: SchedulerState, job: Job, actions: Action[]): void {
  if (!job.closed || job.queue.size > 0 || job.leased > 0) return
  forgetTask(state, job)
  actions.push({ type: 'job-finished', job: job.id })
}

export function forgetTask(state: SchedulerState, job: Job): void {
  state.jobs.delete(job.id)
  const context = state.contexts.get(job.context)
  if (context) context.jobs = context.jobs.filter((other) => other !== job)
}

/** Ends a task under one lease, and the lease with its last task. A second lease of the task becomes its only one. */
function end(state: SchedulerState, lease: LeaseRecord, task: number): void {
  const copy = state.copies.get(task)
  state.copies.delete(task)
  if (copy === undefined) {
    state.holders.delete(task)
    lease.job.leased--
    contextOf(state, lease.job.context).leased--
  } else if (copy !== lease) state.holders.set(task, copy)
  if (--lease.open === 0) state.workers.get(lease.worker)?.leases.delete(lease.id)
}

/** Ends a task under one lease without an outcome; if it runs under no other, it is queued again. True if it was. */
function giveUp(state: SchedulerState, lease: LeaseRecord, task: number): boolean {
  end(state, lease, task)
  if (state.holders.has(task)) return false
  enqueue(state, lease.job, task)
  state.counts.requeued++
  return true
}

/** Those of the tasks that still run under this lease. */
function openOf(state: SchedulerState, lease: LeaseRecord, tasks = lease.tasks): number[] {
  return tasks.filter((task) => state.holders.get(task) === lease || state.copies.get(task) === lease)
}

/** Gives back what a lease still covers, of all its tasks or of these; returns how many tasks were queued again. */
export function revokeLease(state: SchedulerState, lease: LeaseRecord, tasks = lease.tasks): number {
  return openOf(state, lease, tasks).filter((task) => giveUp(state, lease, task)).length
}

/** Ends a lease whose tasks are no longer needed. */
export function abandonLease(state: SchedulerState, lease: LeaseRecord): void {
  const open = openOf(state, lease)
  for (const task of open) end(state, lease, task)
  drop(state, lease, open)
}

/** Has a worker told that it need not run these any more. */
function drop(state: SchedulerState, lease: LeaseRecord, tasks: number[]): void {
  const worker = state.workers.get(lease.worker)
  if (!worker) return
  worker.cancel.push(...tasks)
  state.overtaken.add(worker)
}
