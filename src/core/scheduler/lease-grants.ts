import type { Level } from '../../protocol/contexts/context.ts'
import { rememberRate } from './demand.ts'
import { isAnyQueued } from './task-queues.ts'
import { placeContexts, placeAhead } from './context-placement.ts'
import { allowance, takeFor } from './worker-trial.ts'
import { inHand, inHandOf, takesWork } from './worker-view.ts'
import {
  type Action,
  type ContextState,
  contextOf,
  type Grant,
  isLoadedOn,
  type Job,
  type LeaseRecord,
  type SchedulerState,
  type Worker,
} from './state.ts'

/** Takes tasks for each context the worker has room in. A worker that leaves or ends soon gets none. */
export function grantLeases(state: SchedulerState, worker: Worker, now: number): Grant[] {
  if (!takesWork(worker, now)) return []
  const grants: Grant[] = []
  for (const [id, room] of worker.want) {
    const context = state.contexts.get(id)
    if (!context) continue
    let left = Math.min(room, fairShare(context, worker), allowance(state, worker, now))
    for (const job of byPriority(context.jobs)) {
      if (left <= 0) break
      const tasks = takeFor(state, worker, job, left)
      if (tasks.length === 0) continue
      left -= tasks.length
      const record = openLease(state, worker, job, tasks, now)
      for (const task of tasks) state.holders.set(task, record)
      job.leased += tasks.length
      context.leased += tasks.length
      grants.push(toGrant(record))
    }
  }
  return grants
}

/** Of the work that is left, a worker has this much of its part in hand at most: the other half is shared out later, by what is known then. */
const PART_IN_HAND = 1 / 2
/** So much it may always have, milliseconds at its measured rate: time for several exchanges. */
const LEAST_MS = 500

/**
 * At most this worker's part of what waits, by measured speed, and no more in hand than half its part of all that is left: at
 * the end of the work, leases get shorter and shorter, so that fast and slow workers finish together, also those that came
 * late or turned out slower than they were. Far from the end the room a worker asks for is the smallest of the three.
 */
function fairShare(context: ContextState, worker: Worker): number {
  const { queued, leased, rate, ready } = context
  const ownRate = worker.rate / Math.max(1, worker.ready.length)
  // One that is not measured yet asks for little.
  if (rate === 0 || ownRate === 0) return Math.ceil(queued / Math.max(1, ready))
  const part = Math.min(1, ownRate / rate)
  const least = Math.max(1, worker.least.get(context.id) ?? 0, (ownRate * LEAST_MS) / 1000)
  const most = Math.max(least, (queued + leased) * part * PART_IN_HAND)
  return Math.ceil(Math.min(queued * part, most - inHandOf(worker, context.id)))
}

/** In the order in which workers are given their tasks. */
export function byPriority(jobs: Job[]): Job[] {
  return jobs.length < 2 ? jobs : jobs.toSorted((a, b) => b.priority - a.priority || a.id - b.id)
}

/** Makes a lease of these tasks for a worker that has room for them. */
export function openLease(
  state: SchedulerState,
  worker: Worker,
  job: Job,
  tasks: number[],
  now: number,
): LeaseRecord {
  const open = tasks.length
  const record = {
    id: state.nextLease++,
    worker: worker.id,
    job,
    tasks,
    open,
    grantedAt: now,
    inHand: inHand(worker) + open,
  }
  worker.leases.set(record.id, record)
  worker.want.set(job.context, worker.want.get(job.context)! - open)
  return record
}

/** What a worker is told of a lease. */
export function toGrant({ id, job, tasks }: LeaseRecord): Grant {
  return {
    lease: id,
    job: job.id,
    context: job.context,
    function: job.function,
    tasks: tasks.map((task) => (job.faults.get(task)?.crashes ? { task, alone: true } : { task })),
    ...(job.timeLimitMs === undefined ? {} : { timeLimitMs: job.timeLimitMs }),
    ...(job.traceparent === undefined ? {} : { traceparent: job.traceparent }),
  }
}

/** Answers a worker's open request if there is something to tell it, or if its time is up. */
export function replyTo(
  state: SchedulerState,
  worker: Worker,
  now: number,
  actions: Action[],
  extra: Grant[] = [],
): void {
  if (worker.parkedUntil === undefined) return
  const leases = [...extra, ...grantLeases(state, worker, now)]
  const warm = placeContexts(state, worker, now)
  const ahead = placeAhead(state, worker, warm)
  const rewarmed = !areSame(warm, worker.warm)
  const moved =
    rewarmed || worker.discard.length > 0 || worker.again.length > 0 || !areSame(ahead, worker.ahead)
  // A worker that knows says that it is leaving; until then it is told with every answer.
  const drain = worker.draining && !worker.leaving
  const news = leases.length > 0 || moved || drain || worker.cancel.length > 0 || worker.revoke.length > 0
  if (!news && worker.parkedUntil > now) return
  const { cancel, revoke, discard, again } = worker
  if (rewarmed) assign(state, worker, warm, now)
  worker.ahead = ahead
  worker.cancel = []
  worker.revoke = []
  worker.discard = []
  worker.again = []
  delete worker.parkedUntil
  actions.push({
    type: 'reply',
    worker: worker.id,
    reply: { leases, cancel, revoke, warm, ahead, discard, again, drain: worker.draining },
  })
}

function areSame(these: readonly string[], those: readonly string[]): boolean {
  return these.length === those.length && these.every((id, i) => id === those[i])
}

/** Offers what is queued to the workers with an open request, until nothing is. */
export function offerWork(state: SchedulerState, now: number, actions: Action[]): void {
  for (const worker of state.workers.values()) {
    if (worker.parkedUntil === undefined) continue
    if (!isAnyQueued(state)) return
    replyTo(state, worker, now, actions)
  }
}

/** Notes which contexts a worker is told to work for. */
export function assign(state: SchedulerState, worker: Worker, warm: string[], now: number): void {
  for (const id of worker.warm) contextOf(state, id).assigned--
  for (const id of warm) {
    contextOf(state, id).assigned++
    if (!worker.warm.includes(id)) worker.turns.set(id, now)
  }
  worker.warm = warm
}

/** Notes where a worker holds contexts. */
export function setLevels(state: SchedulerState, worker: Worker, levels: Map<string, Level>): void {
  for (const id of worker.levels.keys()) if (isLoadedOn(worker, id)) contextOf(state, id).loaded--
  worker.levels = levels
  for (const id of levels.keys()) if (isLoadedOn(worker, id)) contextOf(state, id).loaded++
}

/** Notes which contexts a worker holds loaded and works for, and its measured rate. */
export function setReady(state: SchedulerState, worker: Worker, ready: string[], rate: number): void {
  for (const id of worker.ready) {
    const context = contextOf(state, id)
    context.ready--
    // Rounding must not leave less than nothing.
    context.rate = context.ready === 0 ? 0 : Math.max(0, context.rate - worker.rate / worker.ready.length)
  }
  for (const id of ready) {
    const context = contextOf(state, id)
    context.ready++
    context.rate += rate / ready.length
    rememberRate(context, rate)
  }
  worker.ready = ready
  worker.rate = rate
}
