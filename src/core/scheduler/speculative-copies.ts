import { replyTo, openLease, toGrant } from './lease-grants.ts'
import {
  type Action,
  contextOf,
  type ContextState,
  type LeaseRecord,
  type SchedulerState,
  type Worker,
} from './state.ts'
import { inHand, takesWork } from './worker-view.ts'

/*
 * At the end of the work, some worker may be so slow that all the others wait for it. A worker that has nothing to do then gets
 * its tasks too: they run under two leases, and whichever reports a value first ends both. No task has more than two.
 */

/** Gives what is slow to workers that wait, of contexts for which nothing is queued. */
export function copySlowTasks(state: SchedulerState, now: number, actions: Action[]): void {
  const ending = endingContexts(state)
  // Looked for once, for all contexts together: there may be thousands of them, and of workers.
  const idle = idleWorkers(state, ending, now)
  const leases = idle.size > 0 ? leasesIn(state, idle) : new Map<string, LeaseRecord[]>()
  for (const [id, workers] of idle) {
    const slow = slowest(leases.get(id) ?? [], state, contextOf(state, id), now)
    for (const worker of workers.sort((a, b) => b.rate - a.rate)) {
      // It got something of another context just now.
      if (worker.parkedUntil === undefined) continue
      const grants = slow.flatMap((original) => copy(state, worker, original, now))
      if (grants.length > 0) replyTo(state, worker, now, actions, grants)
    }
  }
}

/** Contexts of which all that is left to do is in workers' hands. */
function endingContexts(state: SchedulerState): Set<string> {
  const ending = new Set<string>()
  for (const { leased, context } of state.jobs.values()) {
    const { queued, rate } = contextOf(state, context)
    if (leased > 0 && queued === 0 && rate > 0) ending.add(context)
  }
  return ending
}

/** By context, workers that have nothing to do, and room for it. */
function idleWorkers(state: SchedulerState, contexts: Set<string>, now: number): Map<string, Worker[]> {
  const found = new Map<string, Worker[]>()
  if (contexts.size === 0) return found
  for (const worker of state.workers.values()) {
    if (!isIdle(worker, now)) continue
    for (const [id, room] of worker.want) if (room > 0 && contexts.has(id)) push(found, id, worker)
  }
  return found
}

/** It has an open request, and a slot for which it has nothing. */
function isIdle(worker: Worker, now: number): boolean {
  const { parkedUntil, trial, slots } = worker
  return parkedUntil !== undefined && !trial && takesWork(worker, now) && inHand(worker) < slots
}

/** The leases in these contexts. */
function leasesIn(state: SchedulerState, contexts: Map<string, unknown>): Map<string, LeaseRecord[]> {
  const found = new Map<string, LeaseRecord[]>()
  for (const worker of state.workers.values()) {
    for (const lease of worker.leases.values())
      if (contexts.has(lease.job.context)) push(found, lease.job.context, lease)
  }
  return found
}

function push<T>(lists: Map<string, T[]>, key: string, item: T): void {
  const list = lists.get(key)
  if (list) list.push(item)
  else lists.set(key, [item])
}

/** Those that take much longer than what their worker had in hand takes others, the slowest first. */
function slowest(
  leases: LeaseRecord[],
  { config: { slowFactor, slowMs } }: SchedulerState,
  context: ContextState,
  now: number,
): LeaseRecord[] {
  const meanRate = context.rate / context.ready
  const slowness = ({ grantedAt, inHand }: LeaseRecord) =>
    (now - grantedAt) / Math.max(slowMs, (slowFactor * inHand * 1000) / meanRate)
  return leases.filter((lease) => slowness(lease) > 1).sort((a, b) => slowness(b) - slowness(a))
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
  const record = openLease(state, worker, job, tasks, now)
  for (const task of tasks) state.copies.set(task, record)
  return [toGrant(record)]
}
