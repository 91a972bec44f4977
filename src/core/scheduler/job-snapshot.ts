import type { JobInfo, TaskLog } from '../../protocol/client.ts'
import type { SiteExplanation } from '../../protocol/explanation.ts'
import type { ContextReport } from '../../protocol/worker.ts'
import type { SchedulerState } from './state.ts'

/** All that tells why a job stands as it does. Times are milliseconds by the manager's clock. */
export interface JobSnapshot {
  info: JobInfo
  state: SchedulerState
  /** What each worker last said of the contexts it holds, by worker. */
  reports: ReadonlyMap<string, readonly ContextReport[]>
  /** The name of a context, by its identity. */
  nameOf: (context: string) => string
  sites: readonly SiteExplanation[]
  /** Pilots without a worker: those that will have one by themselves, and those that the batch systems hold. */
  pilots: { coming: number; held: number }
  now: number
  /** The task that is asked for. */
  task?: { number: number; log: TaskLog }
}
