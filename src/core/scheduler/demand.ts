import type { Demand } from '../interfaces/pilot-registry.ts'
import type { ContextState, SchedulerState } from './state.ts'

/** What part of a context's remembered rate each new measurement makes up. */
const NEWS = 1 / 8

/** Keeps in mind how fast a worker is that works for a context, for when none is left that could say. */
export function rememberRate(context: ContextState, rate: number): void {
  if (rate <= 0) return
  context.workerRate += (rate - context.workerRate) * (context.workerRate === 0 ? 1 : NEWS)
}

/**
 * What there is to do for pilots, without what no pilot could do, and how fast one does it: as workers have measured it; or, while
 * none has, as those did that worked for the same contexts before.
 */
export function demandOf(state: SchedulerState): Demand {
  const contexts = [...state.contexts.values()]
  const queued = contexts.reduce((sum, context) => sum + (context.broken ? 0 : context.queued), 0)
  const measured = [...state.workers.values()].map(({ rate }) => rate).filter((rate) => rate > 0)
  const ratePerPilot =
    measured.length > 0
      ? measured.reduce((sum, rate) => sum + rate, 0) / measured.length
      : rememberedRate(contexts)
  return { queued, leased: state.holders.size, ratePerPilot }
}

/** Of the contexts that have work, each by the time that its work takes; 0 if no worker has ever worked for one of them. */
function rememberedRate(contexts: readonly ContextState[]): number {
  const known = contexts
    .filter(({ broken, workerRate }) => !broken && workerRate > 0)
    .map(({ queued, leased, workerRate }) => ({ tasks: queued + leased, workerRate }))
    .filter(({ tasks }) => tasks > 0)
  const tasks = known.reduce((sum, { tasks }) => sum + tasks, 0)
  const seconds = known.reduce((sum, { tasks, workerRate }) => sum + tasks / workerRate, 0)
  return tasks === 0 ? 0 : tasks / seconds
}
