import { answer, lease, toGrant } from './grant.ts'
import {
  type Action,
  type ContextState,
  type LeaseRecord,
  queuedOf,
  type SchedulerState,
  type Worker,
} from './state.ts'
import { inHand, takesWork } from './worker.ts'

/*
 * At the end of the work, some worker may be so slow that all the others wait for it. Whoever has nothing to do then gets
 * its tasks too: they run under two leases, and whichever reports a value first ends both. No task has more than two.
 */

/** Gives what is slow to workers that wait, of contexts for which nothing is queued. */
export function speculate(state: SchedulerState, now: number, actions: Action[]): void {
  for (const context of state.contexts.values()) {
    const leased = context.jobs.some((job) => job.leased > 0)
    if (!leased || context.rate <= 0 || queuedOf(context) > 0) continue
    const idle = idleWorkers(state, context, now)
    if (idle.length === 0) continue
    const slow = slowLeases(state, context, now)
    for (const worker of idle) {
      const grants = slow.flatMap((original) => copy(state, worker, original, now))
      if (grants.length > 0) answer(state, worker, now, actions, grants)
    }
  }
}

/** Workers with an open request, room for the context and a slot for which they have nothing; the fastest first. */
function idleWorkers(state: SchedulerState, context: ContextState, now: number): Worker[] {
  return [...state.workers.values()]
    .filter((worker) => worker.parkedUntil !== undefined && takesWork(worker, now) && !worker.trial)
    .filter((worker) => (worker.want.get(context.id) ?? 0) > 0 && inHand(worker) < worker.slots)
    .sort((a, b) => b.rate - a.rate)
}

/** Leases that take much longer than what their worker had in hand takes others, the slowest first. */
function slowLeases(state: SchedulerState, context: ContextState, now: number): LeaseRecord[] {
  const { slowFactor, slowMs } = state.config
  const meanRate = context.rate / context.ready
  const slowness = ({ grantedAt, inHand }: LeaseRecord) =>
    (now - grantedAt) / Math.max(slowMs, (slowFactor * inHand * 1000) / meanRate)
  return [...state.workers.values()]
    .flatMap((worker) => [...worker.leases.values()])
    .filter((original) => original.job.context === context.id && slowness(original) > 1)
    .sort((a, b) => slowness(b) - slowness(a))
}

/** Leases as much of a slow lease once more as the worker has room for; the last tasks first: they may not have begun. */
function copy(state: SchedulerState, worker: Worker, original: LeaseRecord, now: number) {
  const { job } = original
  const room = worker.want.get(job.context)!
  if (original.worker === worker.id || room <= 0) return []
  const tasks = original.tasks
    .filter((task) => state.holders.get(task) === original && !state.copies.has(task))
    // What crashed a library may do so again: one at a time is enough.
    .filter((task) => !job.faults.get(task)?.crashes)
    .slice(-room)
  if (tasks.length === 0) return []
  const record = lease(state, worker, job, tasks, now)
  for (const task of tasks) state.copies.set(task, record)
  return [toGrant(record)]
}
