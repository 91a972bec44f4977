import type { AnyExchangeRequest } from '../../protocol/worker.ts'
import type { ContextReport } from '../../protocol/worker.ts'
import { enqueue, withdrawAll } from './task-queues.ts'
import { replyTo, assign, offerWork, setLevels, setReady } from './lease-grants.ts'
import {
  abandonLease,
  cancelTask,
  endIfComplete,
  forgetTask,
  revokeLease,
  settleOutcome,
  unmake,
} from './task-outcomes.ts'
import {
  type Action,
  type ContextState,
  contextOf,
  isLoadedOn,
  newWorker,
  type Job,
  type Leaving,
  type SchedulerState,
  type Worker,
  type WorkerInfo,
} from './state.ts'
import { RangeSet } from './range-set.ts'
import { copySlowTasks } from './speculative-copies.ts'

/*
 * The scheduler: plain functions over plain state. Events and the time go in, actions come out; the manager does them,
 * a simulation does them on a virtual clock. No function here does I/O, reads a clock or throws on anything a worker says.
 */

export { createScheduler, type SchedulerState } from './state.ts'

/** What makes a job; its tasks come with {@link addTasks}. */
export type NewJob = Pick<Job, 'id' | 'context' | 'function' | 'priority' | 'retries'> & {
  timeLimitMs?: number
  traceparent?: string
}

/** Adds a job, or one found in the ledger at start with `counts` of what was finished before. */
export function addJob(state: SchedulerState, job: NewJob, counts = { done: 0, failed: 0 }): void {
  const added: Job = { ...job, ...counts, queue: new RangeSet(), leased: 0, closed: false, faults: new Map() }
  state.jobs.set(job.id, added)
  contextOf(state, job.context).jobs.push(added)
  trustAgain(state, job.context)
}

/**
 * Asking for a broken context again is how a user says that what broke it is mended. It is tried at once wherever it failed;
 * that it fails once more tells that it is not.
 */
export function trustAgain(state: SchedulerState, id: string): void {
  const context = contextOf(state, id)
  if (!context.broken) return
  delete context.broken
  context.setupFailures = state.config.maxSetupFailures - 1
  for (const worker of state.workers.values()) {
    const retry = worker.setupRetries.get(id)
    if (!retry) continue
    retry.retryAt = 0
    worker.again.push(id)
  }
}

/** Queues the tasks `[start, end)`. */
export function addTasks(
  state: SchedulerState,
  jobId: number,
  start: number,
  end: number,
  now: number,
): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  enqueue(state, job, start, end)
  offerWork(state, now, actions)
  return actions
}

/** Queues tasks that had failed once more. */
export function retryTasks(state: SchedulerState, jobId: number, tasks: number[], now: number): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  job.failed -= tasks.length
  for (const task of tasks) enqueue(state, job, task)
  offerWork(state, now, actions)
  return actions
}

/** No more tasks will be added. */
export function closeJob(state: SchedulerState, jobId: number): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  job.closed = true
  endIfComplete(state, job, actions)
  return actions
}

/** Forgets a job and what of it waits; workers are told to drop what they have in hand. */
export function cancelJob(state: SchedulerState, jobId: number, now: number): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  withdrawAll(state, job)
  for (const worker of state.workers.values()) {
    for (const lease of [...worker.leases.values()]) {
      if (lease.job === job) abandonLease(state, lease)
    }
  }
  forgetTask(state, job)
  tellOvertaken(state, now, actions)
  return actions
}

/** Ends those of these tasks that have not ended, as failed; workers are told to drop what they have in hand. */
export function cancelTasks(state: SchedulerState, jobId: number, tasks: number[], now: number): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  for (const task of tasks) cancelTask(state, job, task, actions)
  tellOvertaken(state, now, actions)
  return actions
}

/**
 * Takes tasks from a job as if it never had them, whether they wait, run or have ended; workers are told to drop what they have
 * in hand.
 */
export function takeBack(
  state: SchedulerState,
  jobId: number,
  tasks: readonly { task: number; ended: 'done' | 'failed' | undefined }[],
  now: number,
): Action[] {
  const actions: Action[] = []
  const job = state.jobs.get(jobId)
  if (!job) return actions
  for (const { task, ended } of tasks) {
    if (ended) job[ended]--
    else unmake(state, job, task)
  }
  tellOvertaken(state, now, actions)
  return actions
}

/** Those that wait are told at once, as their slots may be busy for nothing; the others with their next answer. */
function tellOvertaken(state: SchedulerState, now: number, actions: Action[]): void {
  for (const worker of state.overtaken) replyTo(state, worker, now, actions)
  state.overtaken.clear()
}

/** A worker registered, or came back after the manager was restarted or had given it up. */
export function join(state: SchedulerState, info: WorkerInfo, now: number): void {
  state.workers.set(info.id, newWorker(info, now))
}

/**
 * One request of a worker. Its answer is among the actions of this or of a later call, at the latest of the first
 * {@link tick} after `waitMs`.
 * @returns `stale` for a request older than one already seen: it is to be refused, and changes nothing
 */
export function exchange(
  state: SchedulerState,
  workerId: string,
  request: AnyExchangeRequest,
  now: number,
): Action[] | 'stale' | 'unknown' {
  const worker = state.workers.get(workerId)
  if (!worker) return 'unknown'
  if (request.seq < worker.seq) return 'stale'
  const actions: Action[] = []
  const repeated = request.seq === worker.seq
  worker.seq = request.seq
  worker.heardAt = now
  delete worker.suspectSince
  const waiting = state.counts.requeued
  if (request.leaving) worker.leaving = true
  // The results of a repeated request were taken in the first time.
  if (!repeated) for (const result of request.results) settleOutcome(state, worker, result, now, actions)
  reconcileLeases(state, worker, request.leases)
  noteContexts(state, worker, request, now, actions)
  worker.want = new Map(request.want.map(({ context, tasks }) => [context, tasks]))
  worker.least = new Map(request.want.map(({ context, least = 0 }) => [context, least]))
  worker.parkedUntil = request.leaving ? now : now + request.waitMs
  replyTo(state, worker, now, actions)
  if (worker.leaving && worker.leases.size === 0) {
    if (request.leaving === 'eviction' || request.leaving === 'walltime') state.counts.evictions++
    dismiss(state, worker, 'left', now, actions, request.leaving)
  } else if (state.counts.requeued > waiting) offerWork(state, now, actions)
  tellOvertaken(state, now, actions)
  return actions
}

/** Leases the worker does not know were in an answer it never got; leases we do not know lapsed, or we were restarted. */
function reconcileLeases(state: SchedulerState, worker: Worker, held: number[]): void {
  const known = new Set(held)
  for (const lease of [...worker.leases.values()]) if (!known.has(lease.id)) revokeLease(state, lease)
  for (const lease of known) if (!worker.leases.has(lease)) worker.revoke.push(lease)
}

function noteContexts(
  state: SchedulerState,
  worker: Worker,
  request: AnyExchangeRequest,
  now: number,
  actions: Action[],
): void {
  setLevels(state, worker, new Map(request.contexts.map(({ context, level }) => [context, level])))
  const ready: string[] = []
  for (const report of request.contexts) {
    if (isLoadedOn(worker, report.context)) {
      const context = contextOf(state, report.context)
      context.everReady = true
      noteUpTime(context, worker, report)
      context.setupFailures = 0
      delete context.broken
      worker.setupRetries.delete(report.context)
      // Before it was told anything, it works for what it has.
      if (worker.warm.length === 0 || worker.warm.includes(report.context)) ready.push(report.context)
    } else if (report.error) noteSetupFailure(state, worker, report, now, actions)
  }
  setReady(state, worker, ready, request.rate)
}

/** What it took the first time tells what it takes elsewhere. */
function noteUpTime(context: ContextState, worker: Worker, report: ContextReport): void {
  if (report.attempts !== 1 || worker.broughtUp.has(report.context)) return
  worker.broughtUp.add(report.context)
  context.loadMs = report.loadMs ?? 0
  context.upMs = (report.fetchMs ?? 0) + context.loadMs
}

/** A failed setup is tried again later and elsewhere; where it never worked, it soon counts as broken. */
function noteSetupFailure(
  state: SchedulerState,
  worker: Worker,
  report: ContextReport,
  now: number,
  actions: Action[],
): void {
  if (report.attempts <= (worker.setupRetries.get(report.context)?.attempts ?? 0)) return
  const wait = state.config.setupRetryMs * 2 ** Math.min(8, report.attempts - 1)
  worker.setupRetries.set(report.context, { attempts: report.attempts, retryAt: now + wait })
  const context = contextOf(state, report.context)
  context.setupFailures++
  if (context.everReady || context.broken || context.setupFailures < state.config.maxSetupFailures) return
  context.broken = report.error!
  actions.push({ type: 'context-broken', context: context.id, error: report.error! })
}

/** Takes tasks out of a lease again that the worker has not been told of yet. */
export function giveBack(
  state: SchedulerState,
  workerId: string,
  lease: number,
  tasks: number[],
  now: number,
): Action[] {
  const actions: Action[] = []
  const record = state.workers.get(workerId)?.leases.get(lease)
  if (record && revokeLease(state, record, tasks) > 0) offerWork(state, now, actions)
  return actions
}

/** The worker's connection broke. It may come back; if it does not soon, it is gone. */
export function disconnected(state: SchedulerState, workerId: string, now: number): void {
  const worker = state.workers.get(workerId)
  if (!worker) return
  worker.suspectSince ??= now
  delete worker.parkedUntil
}

/** Users want the files of a context on every worker that has nothing else to fetch, also on those yet to come. */
export function warmAhead(state: SchedulerState, context: string, now: number): Action[] {
  const actions: Action[] = []
  state.ahead.add(context)
  for (const worker of state.workers.values()) replyTo(state, worker, now, actions)
  return actions
}

/** Users want a context, of which no job is left, gone from all workers: from memory and from disk. */
export function dropEverywhere(state: SchedulerState, context: string, now: number): Action[] {
  const actions: Action[] = []
  state.ahead.delete(context)
  for (const worker of state.workers.values()) {
    assign(
      state,
      worker,
      worker.warm.filter((id) => id !== context),
      now,
    )
    worker.discard.push(context)
    replyTo(state, worker, now, actions)
  }
  return actions
}

/** Ask a worker to finish what it has and leave. */
export function drain(state: SchedulerState, workerId: string, now: number): Action[] {
  const actions: Action[] = []
  const worker = state.workers.get(workerId)
  if (!worker) return actions
  worker.draining = true
  replyTo(state, worker, now, actions)
  return actions
}

/** There is something for a worker besides work: an open request of it is answered at once. */
export function nudge(state: SchedulerState, workerId: string, now: number): Action[] {
  const actions: Action[] = []
  const worker = state.workers.get(workerId)
  if (worker?.parkedUntil === undefined) return actions
  worker.parkedUntil = now
  replyTo(state, worker, now, actions)
  return actions
}

/** The batch system says that the worker's job is over. */
export function lost(state: SchedulerState, workerId: string, now: number): Action[] {
  const actions: Action[] = []
  const worker = state.workers.get(workerId)
  if (!worker) return actions
  state.counts.lost++
  dismiss(state, worker, 'lost', now, actions)
  return actions
}

/** We did not run for `ms`, so workers that seemed silent may not have been: it is not held against them. */
export function excuseSilence(state: SchedulerState, ms: number): void {
  for (const worker of state.workers.values()) {
    worker.heardAt += ms
    if (worker.suspectSince !== undefined) worker.suspectSince += ms
  }
}

/** Time passed: open requests run out, silent workers are given up, failed setups are tried again. Call it a few times a second. */
export function tick(state: SchedulerState, now: number): Action[] {
  const actions: Action[] = []
  const { workerTimeoutMs, suspectMs } = state.config
  for (const worker of state.workers.values()) {
    const silent = now - worker.heardAt > workerTimeoutMs && worker.parkedUntil === undefined
    const dropped = worker.suspectSince !== undefined && now - worker.suspectSince > suspectMs
    if (silent || dropped) actions.push(...lost(state, worker.id, now))
    else if ((worker.parkedUntil ?? Infinity) <= now || worker.setupRetries.size > 0 || worker.trial) {
      replyTo(state, worker, now, actions)
    }
  }
  copySlowTasks(state, now, actions)
  return actions
}

/** Takes a worker out; what it had in hand goes to the others. */
function dismiss(
  state: SchedulerState,
  worker: Worker,
  reason: 'lost' | 'left',
  now: number,
  actions: Action[],
  leaving?: Leaving,
): void {
  const attempts = worker.handedBack
  let requeued = 0
  for (const lease of [...worker.leases.values()]) {
    const tasks = revokeLease(state, lease)
    requeued += tasks
    if (tasks > 0) attempts.set(lease.job.id, (attempts.get(lease.job.id) ?? 0) + tasks)
  }
  setReady(state, worker, [], 0)
  setLevels(state, worker, new Map())
  assign(state, worker, [], now)
  state.workers.delete(worker.id)
  const isThere = worker.suspectSince === undefined && worker.parkedUntil !== undefined
  actions.push({
    type: 'worker-gone',
    worker: worker.id,
    reason,
    ...(leaving && { leaving }),
    requeued,
    attempts: [...attempts].map(([job, tasks]) => ({ job, tasks })),
    goneAt: isThere ? now : (worker.suspectSince ?? worker.heardAt),
  })
  if (requeued > 0) offerWork(state, now, actions)
}
