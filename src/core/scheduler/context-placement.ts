import { LEVELS } from '../../protocol/contexts/context.ts'
import { type ContextState, isLoadedOn, type SchedulerState, type Worker } from './state.ts'

/** A turn on a worker lasts this many times as long as it takes to bring up what would take over: so little goes into that. */
const WORTH_LOADING = 10

/**
 * Which contexts a worker should work for, most wanted first; at most one per slot.
 *
 * Workers are shared out in proportion to what waits for each context, at least one each. A worker turns to another context
 * only if that has fewer workers than its share, whose work would last for longer than it takes to load it: at once if its
 * own context has more than its share; or else when that has had its turn. What is loaded there already costs nothing, so
 * its turn comes soon; what is loaded on others is left to those that have too much else.
 * With no work at all it keeps what it has, so that the next job finds it warm.
 */
export function placeContexts(state: SchedulerState, worker: Worker, now: number): string[] {
  const waiting = [...state.waiting].filter(({ id }) => mayTry(worker, id, now))
  const kept = worker.warm.filter((id) => keeps(state, worker, id, waiting, now))
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
export function placeAhead(state: SchedulerState, worker: Worker, warm: readonly string[]): string[] {
  const fetches = warm.some((id) => (worker.levels.get(id) ?? 'absent') === 'absent')
  if (fetches) return []
  return [...state.ahead].filter((id) => !warm.includes(id))
}

/** It did not just fail on this worker. */
function mayTry(worker: Worker, id: string, now: number): boolean {
  const retry = worker.setupRetries.get(id)
  return !retry || retry.retryAt <= now
}

/** Whether the worker stays with a context it has. */
function keeps(
  state: SchedulerState,
  worker: Worker,
  id: string,
  waiting: ContextState[],
  now: number,
): boolean {
  const own = waiting.find((context) => context.id === id)
  if (!own) return [...worker.leases.values()].some((lease) => lease.job.context === id)
  const queued = waiting.reduce((sum, context) => sum + context.queued, 0)
  /** Workers that a context ought to have. */
  const share = (context: ContextState) =>
    Math.max(1, Math.round((state.workers.size * context.queued) / queued))
  const hasTooMany = own.assigned > share(own)
  return !waiting.some((other) => {
    if (other.assigned >= share(other) || worker.warm.includes(other.id)) return false
    if (topPriority(other) < topPriority(own)) return false
    const costMs = costOf(other, worker)
    if (!outlasts(other, costMs)) return false
    const isElsewhere = other.loaded > other.assigned && !isLoadedOn(worker, other.id)
    return (hasTooMany && !isElsewhere) || isTurnOver(state, worker, own, other, costMs, now)
  })
}

/** Whether a worker has worked for its own context for long enough, compared to what it takes to turn to another. */
function isTurnOver(
  { config }: SchedulerState,
  worker: Worker,
  own: ContextState,
  other: ContextState,
  costMs: number,
  now: number,
): boolean {
  const least = topPriority(other) > topPriority(own) ? 0 : config.turnMs
  return now - (worker.turns.get(own.id) ?? now) >= Math.max(least, WORTH_LOADING * costMs)
}

/** Time the worker needs to bring a context up from where it holds it, milliseconds. */
function costOf(context: ContextState, worker: Worker): number {
  if (isLoadedOn(worker, context.id)) return 0
  return worker.levels.get(context.id) === 'disk' ? context.loadMs : context.upMs
}

/** Whether what waits keeps the workers that have the context busy for longer than that. */
function outlasts(context: ContextState, ms: number): boolean {
  return context.rate === 0 || (context.queued / context.rate) * 1000 > ms
}

function topPriority(context: ContextState): number {
  let top = -Infinity
  for (const job of context.jobs) if (job.queue.size > 0) top = Math.max(top, job.priority)
  return top
}

/**
 * Sort key, smallest first: priority, then what this worker does not just make way with, then contexts with no worker yet,
 * then what is warmest here, then what had its turn here the longest ago, then backlog per worker.
 */
function rank(context: ContextState, worker: Worker): number[] {
  const level = LEVELS.indexOf(worker.levels.get(context.id) ?? 'absent')
  return [
    -topPriority(context),
    worker.warm.includes(context.id) ? 1 : 0,
    context.assigned === 0 ? 0 : 1,
    -level,
    isLoadedOn(worker, context.id) ? (worker.turns.get(context.id) ?? -1) : 0,
    -context.queued / (1 + context.assigned),
  ]
}

function compare(a: number[], b: number[]): number {
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}
