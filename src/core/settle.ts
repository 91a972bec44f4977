import type { TaskResult } from '../protocol/task.ts'
import type { Action, Faults, Job, LeaseRecord, SchedulerState, Worker } from './state.ts'

/**
 * Takes in one outcome. A value is a value: the first one for an unfinished task wins, even from a lease that lapsed.
 * Every other outcome counts only under the lease that the task runs under now.
 */
export function settle(state: SchedulerState, worker: Worker, result: TaskResult, actions: Action[]): void {
  const holder = state.holders.get(result.task)
  const fenced = holder === undefined || holder.id !== result.lease || holder.worker !== worker.id
  if (result.outcome.status === 'done') {
    const job = holder?.job ?? queuedIn(state, result.task)
    if (!job) {
      state.counts.duplicates++
      return
    }
    if (!holder) job.queue.delete(result.task)
    else if (fenced) state.workers.get(holder.worker)?.cancel.push(result.task)
    finish(state, worker, job, result, actions)
    return
  }
  if (fenced) return
  if (result.outcome.status === 'returned') {
    requeue(state, holder, result.task)
    return
  }
  charge(state, worker, holder, result, actions)
}

/** The job in which a task waits that nobody holds: its lease lapsed, or the manager was restarted. */
function queuedIn(state: SchedulerState, task: number): Job | undefined {
  for (const job of state.jobs.values()) if (job.queue.has(task)) return job
  return undefined
}

/** Counts a failure against the task, and gives it another try or sets it aside. */
function charge(
  state: SchedulerState,
  worker: Worker,
  holder: LeaseRecord,
  result: TaskResult,
  actions: Action[],
): void {
  const { job } = holder
  const faults = job.faults.get(result.task) ?? { errors: 0, crashes: 0, excused: false }
  job.faults.set(result.task, faults)
  worker.failures++
  const final = result.outcome.status === 'crash' ? crashed(state, faults) : erred(worker, job, faults)
  if (final) finish(state, worker, job, result, actions)
  else requeue(state, holder, result.task)
  if (isBlackHole(state, worker, job)) {
    worker.draining = true
    actions.push({ type: 'black-hole', worker: worker.id, node: worker.node, failures: worker.failures })
  }
}

function crashed(state: SchedulerState, faults: Faults): boolean {
  return ++faults.crashes >= state.config.maxCrashes
}

/** The first error of a task on a worker that never finished anything may be that worker's fault: it is not counted. */
function erred(worker: Worker, job: Job, faults: Faults): boolean {
  if (worker.done === 0 && !faults.excused) {
    faults.excused = true
    return false
  }
  return ++faults.errors > job.retries
}

/** It only ever fails, where the same job succeeds on others. Told once. */
function isBlackHole(state: SchedulerState, worker: Worker, job: Job): boolean {
  return (
    !worker.draining && worker.done === 0 && job.done > 0 && worker.failures >= state.config.blackHoleFailures
  )
}

function finish(
  state: SchedulerState,
  worker: Worker,
  job: Job,
  result: TaskResult,
  actions: Action[],
): void {
  release(state, result.task)
  job.faults.delete(result.task)
  if (result.outcome.status === 'done') {
    job.done++
    worker.done++
    worker.failures = 0
  } else job.failed++
  actions.push({ type: 'record', job: job.id, result, worker: worker.id })
  endIfComplete(state, job, actions)
}

/** A job ends when no more tasks will come and none is left. */
export function endIfComplete(state: SchedulerState, job: Job, actions: Action[]): void {
  if (!job.closed || job.queue.size > 0 || job.leased > 0) return
  forget(state, job)
  actions.push({ type: 'job-finished', job: job.id })
}

export function forget(state: SchedulerState, job: Job): void {
  state.jobs.delete(job.id)
  const context = state.contexts.get(job.context)
  if (context) context.jobs = context.jobs.filter((other) => other !== job)
}

/** Ends a task's lease, and the lease itself with its last task. */
function release(state: SchedulerState, task: number): void {
  const holder = state.holders.get(task)
  if (!holder) return
  state.holders.delete(task)
  holder.job.leased--
  if (--holder.open === 0) state.workers.get(holder.worker)?.leases.delete(holder.id)
}

/** Ends a task's lease and queues it again. */
export function requeue(state: SchedulerState, holder: LeaseRecord, task: number): void {
  release(state, task)
  holder.job.queue.add(task)
  state.counts.requeued++
}

/** Gives back all that a lease still covers; returns how many tasks that were. */
export function revoke(state: SchedulerState, lease: LeaseRecord): number {
  let returned = 0
  for (const task of lease.tasks) {
    if (state.holders.get(task) !== lease) continue
    requeue(state, lease, task)
    returned++
  }
  return returned
}

/** Ends a lease whose tasks nobody needs any more, and says which they are. */
export function abandon(state: SchedulerState, lease: LeaseRecord): number[] {
  const open = lease.tasks.filter((task) => state.holders.get(task) === lease)
  for (const task of open) release(state, task)
  return open
}
