import type { JobInfo } from '../../../protocol/client.ts'
import type { JobRow } from '../../ledger/job-store.ts'
import type { ErrorTally } from './job-errors.ts'

/** How far a job is. */
export type JobStand = Pick<JobInfo, 'name' | 'state' | 'tasks' | 'done' | 'failed'>

/** A job as the manager keeps it in memory. Times are milliseconds on the dispatcher's clock. */
export interface Job {
  row: JobRow
  tasks: number
  done: number
  failed: number
  /** When a client, or a result, last had to do with it; or else since when this manager runs. */
  touchedAt: number
  /** When a client last had to do with it; or else since when this manager runs. */
  heardAt: number
  errors: ErrorTally
}

/** A job is open until it was cancelled, or was closed and all of its tasks have ended. */
export function stateOf({ row, tasks, done, failed }: Job): JobInfo['state'] {
  if (row.cancelled) return 'cancelled'
  return row.closed && done + failed === tasks ? 'finished' : 'open'
}

export function standOf(job: Job): JobStand {
  const { tasks, done, failed } = job
  return { name: job.row.name, state: stateOf(job), tasks, done, failed }
}
