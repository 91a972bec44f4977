import { withdraw } from '../../src/core/scheduler/task-queues.ts'
import { noteAccusation, peersFor } from '../../src/core/peer-selection.ts'
import { decide } from '../../src/core/pilot-scaling.ts'
import { exchange, lost, tick } from '../../src/core/scheduler/transitions.ts'
import type { SchedulerState } from '../../src/core/scheduler/state.ts'

/** The decisions under test. A planted bug is a wrong version of one of them. */
export interface Core {
  exchange: typeof exchange
  tick: typeof tick
  lost: typeof lost
  decide: typeof decide
  accuse: typeof noteAccusation
  neighboursFor: typeof peersFor
}

export const realCore: Core = {
  exchange,
  tick,
  lost,
  decide,
  accuse: noteAccusation,
  neighboursFor: peersFor,
}

/** Bugs that a simulation worth its time must find. */
export const plants: Record<string, Core> = {
  /** Of the tasks of a worker that is given up, the first is forgotten. */
  'lost-requeue': {
    ...realCore,
    tick: (state, now) => forgetOne(state, () => tick(state, now)),
    lost: (state, worker, now) => forgetOne(state, () => lost(state, worker, now)),
  },
  /** The factory may have one pilot more than the site's maximum. */
  'off-by-one-cap': {
    ...realCore,
    decide: (input) => decide({ ...input, config: { ...input.config, max: input.config.max + 1 } }),
  },
  /** Who serves wrong bytes is named to others again. */
  trusting: { ...realCore, accuse: () => {} },
  /** Whatever a worker says of a task counts, though another one has the lease by now. */
  'unfenced-lease': {
    ...realCore,
    exchange: (state, worker, request, now) =>
      exchange(
        state,
        worker,
        { ...request, results: request.results.map((result) => forge(state, worker, result)) },
        now,
      ),
  },
}

function forgetOne<T>(state: SchedulerState, run: () => T): T {
  const before = [...state.holders.keys()]
  const result = run()
  const requeued = before.find((task) => [...state.jobs.values()].some((job) => job.queue.has(task)))
  if (requeued !== undefined) for (const job of state.jobs.values()) withdraw(state, job, requeued)
  return result
}

type Result = Parameters<typeof exchange>[2]['results'][number]

function forge(state: SchedulerState, worker: string, result: Result): Result {
  const holder = state.holders.get(result.task)
  if (!holder || holder.worker === worker) return result
  // The scheduler is made to believe that the lease is the sender's.
  holder.worker = worker
  return { ...result, lease: holder.id }
}
