import { LEVELS } from '../protocol/context.ts'
import { type ContextState, queuedOf, type SchedulerState, type Worker } from './state.ts'

/**
 * Which contexts a worker should bring up, most wanted first; at most one per slot.
 *
 * Workers are shared out in proportion to what waits for each context, at least one each. A worker changes its context
 * only when that one has more workers than its share and another has fewer, whose work would last for longer than it takes
 * to load it: loading costs more than a little unfairness.
 * With no work at all it keeps what it has, so that the next job finds it warm.
 */
export function placement(state: SchedulerState, worker: Worker, now: number): string[] {
  const waiting = [...state.contexts.values()].filter((context) => isOpen(context, worker, now))
  const kept = worker.warm.filter((id) => keeps(state, worker, id, waiting))
  const free = worker.slots - kept.length
  if (free <= 0) return kept
  const chosen = waiting
    .filter((context) => !kept.includes(context.id))
    .map((context) => ({ context, rank: rank(context, worker) }))
    .sort((a, b) => compare(a.rank, b.rank))
    .slice(0, free)
    .map(({ context }) => context.id)
  if (kept.length + chosen.length === 0) return worker.warm.filter((id) => mayTry(worker, id, now))
  return [...kept, ...chosen]
}

/** Contexts to bring the files of besides: those users asked for, on a worker with nothing to fetch for the work there is. */
export function placementAhead(state: SchedulerState, worker: Worker, warm: readonly string[]): string[] {
  const fetches = warm.some((id) => (worker.levels.get(id) ?? 'absent') === 'absent')
  if (fetches) return []
  const asked = [...state.contexts.values()].filter(({ id, ahead }) => ahead && !warm.includes(id))
  return asked.map(({ id }) => id)
}

/** It has work, and did not just fail on this worker. */
function isOpen(context: ContextState, worker: Worker, now: number): boolean {
  return mayTry(worker, context.id, now) && queuedOf(context) > 0
}

function mayTry(worker: Worker, id: string, now: number): boolean {
  const retry = worker.setupRetries.get(id)
  return !retry || retry.retryAt <= now
}

/** Whether the worker stays with a context it has. */
function keeps(state: SchedulerState, worker: Worker, id: string, waiting: ContextState[]): boolean {
  const own = waiting.find((context) => context.id === id)
  if (!own) return [...worker.leases.values()].some((lease) => lease.job.context === id)
  const { assigned, share } = shares(state, own, waiting)
  if (assigned <= share) return true
  return !waiting.some((other) => {
    if (worker.warm.includes(other.id)) return false
    const theirs = shares(state, other, waiting)
    return theirs.assigned < theirs.share && topPriority(other) >= topPriority(own) && outlastsLoading(other)
  })
}

/** Whether what waits keeps the workers that have the context busy for longer than another takes to bring it up. */
function outlastsLoading(context: ContextState): boolean {
  return context.rate === 0 || (queuedOf(context) / context.rate) * 1000 > context.upMs
}

/** Workers a context has, and ought to have. */
function shares(state: SchedulerState, context: ContextState, waiting: ContextState[]) {
  let queued = 0
  for (const other of waiting) queued += queuedOf(other)
  const share = Math.max(1, Math.round((state.workers.size * queuedOf(context)) / Math.max(1, queued)))
  return { assigned: context.assigned, share }
}

function topPriority(context: ContextState): number {
  let top = -Infinity
  for (const job of context.jobs) if (job.queue.size > 0) top = Math.max(top, job.priority)
  return top
}

/**
 * Sort key, smallest first: priority, then what this worker does not just make way with, then contexts with no worker yet,
 * then what is warmest here, then backlog per worker.
 */
function rank(context: ContextState, worker: Worker): number[] {
  const level = LEVELS.indexOf(worker.levels.get(context.id) ?? 'absent')
  return [
    -topPriority(context),
    worker.warm.includes(context.id) ? 1 : 0,
    context.assigned === 0 ? 0 : 1,
    -level,
    -queuedOf(context) / (1 + context.assigned),
  ]
}

function compare(a: number[], b: number[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}
