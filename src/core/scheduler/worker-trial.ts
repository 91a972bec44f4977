import { dequeue, enqueue } from './task-queues.ts'
import type { Faults, Job, SchedulerState, Worker } from './state.ts'
import { inHand, takesWork } from './worker-view.ts'

/*
 * A black hole fails whatever it is given, and so fast that it is given everything. What its tasks lack is another worker's
 * try, so it must not use them up first. A worker that fails ten in a row loses what else it has in hand and is on trial: a
 * task at a time, once a second, while others manage, or, if there are none, until some may have come. The first it finishes
 * ends the trial. Where others fail too, the tasks are at fault, and no worker is held back for long.
 */

/** A task's errors on doubtful workers are excused this often; then they count wherever they happen. */
const EXCUSES = 3
/** A worker on trial whose tasks others then finish, so many of them, is a black hole. */
const CONTRADICTIONS = 3
/** Most queued tasks that are passed over for others. */
const LOOK_PAST = 64

/** Whether its failures may be its own fault rather than its tasks'. */
function isDoubtful(worker: Worker): boolean {
  return worker.done === 0 || worker.trial !== undefined
}

/** Takes note of a failure; true if that puts the worker on trial. */
export function noteFailure({ config }: SchedulerState, worker: Worker, now: number): boolean {
  if (++worker.failures < config.blackHoleFailures) return false
  const { trial } = worker
  worker.trial = { since: trial?.since ?? now, nextAt: now + config.trialMs }
  return trial === undefined
}

export function noteSuccess(state: SchedulerState, worker: Worker, faults: Faults | undefined): void {
  worker.done++
  worker.failures = 0
  worker.contradicted = 0
  delete worker.trial
  if (faults?.failedOn === undefined || faults.failedOn === worker.id) return
  const other = state.workers.get(faults.failedOn)
  if (other) other.contradicted++
}

/** The error of a task on a doubtful worker is not counted, if the task did not just fail there before. */
export function excuseFailure(worker: Worker, faults: Faults): boolean {
  if (!isDoubtful(worker) || faults.failedOn === worker.id || faults.excuses >= EXCUSES) return false
  faults.excuses++
  return true
}

/** It only ever failed, where the same job succeeds on others; or fails again and again what others then manage. */
export function isBlackHole(worker: Worker, job: Job): boolean {
  if (worker.draining || !worker.trial) return false
  return worker.done === 0 ? job.done > 0 : worker.contradicted >= CONTRADICTIONS
}

/** How many more tasks a worker may be given now. */
export function allowance(state: SchedulerState, worker: Worker, now: number): number {
  const { trial } = worker
  if (!trial || !isHeldBack(state, worker, trial.since, now)) return Infinity
  return now >= trial.nextAt && inHand(worker) === 0 ? 1 : 0
}

/** Whether a worker on trial should wait for what others make of its tasks: those there are, or those that come. */
function isHeldBack(state: SchedulerState, worker: Worker, since: number, now: number): boolean {
  const { doubtMs, longDoubtMs } = state.config
  if (now - since >= longDoubtMs) return false
  if (now - since < doubtMs || isProvenElsewhere(state, worker, now)) return true
  return state.coming > 0 && !othersFail(state, worker)
}

/** Whether there is another worker that did finish tasks, of whatever context, and is not on trial itself. */
function isProvenElsewhere(state: SchedulerState, worker: Worker, now: number): boolean {
  return [...state.workers.values()].some(
    (other) => other !== worker && !other.trial && other.done > 0 && takesWork(other, now),
  )
}

/** Whether a worker on another node is on trial too. */
function othersFail(state: SchedulerState, { node }: Worker): boolean {
  return [...state.workers.values()].some((other) => other.trial && other.node !== node)
}

/** Takes queued tasks for a worker. What just failed on a doubtful one it gets again only if there is little else. */
export function takeFor(state: SchedulerState, worker: Worker, job: Job, count: number): number[] {
  if (job.faults.size === 0 || !isDoubtful(worker)) return dequeue(state, job, count)
  const seen = dequeue(state, job, count + LOOK_PAST)
  const failedHere = (task: number) => job.faults.get(task)?.failedOn === worker.id
  const ordered = [...seen.filter((task) => !failedHere(task)), ...seen.filter(failedHere)]
  for (const task of ordered.splice(count)) enqueue(state, job, task)
  return ordered
}
