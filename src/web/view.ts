import type { SlotTime } from '../protocol/events.ts'
import type { JobInfo } from '../protocol/client.ts'
import type { SiteStatus, Status, TaskCounts } from '../protocol/status.ts'

/** A job, and how fast its tasks end now. */
export type JobView = JobInfo & {
  /** Tasks per second. */
  rate: number
}

export type WorkerView = Status['workers'][number]

/** A fetch that is under way, and how fast its bytes come from each source. */
export interface TransferView {
  worker: string
  bundle: string
  /** Names of the contexts that need it. */
  contexts: string[]
  heldBytes: number
  totalBytes: number
  /** Bytes so far and bytes per second, by source. */
  from: Record<string, { bytes: number; rate: number }>
}

export type ContextView = Status['contexts'][number]

/** Slots there now, and slot time in seconds. */
export type SpentView = SlotTime & { slots: number }

/** All that the page shows of the present. Things are under their names, so that what changed of them can be said in few bytes. */
export interface View {
  version: string
  startedAt: number
  /** By the manager's clock, like all times here. */
  now: number
  tasks: TaskCounts
  /** Tasks per second, over all jobs. */
  rate: number
  duplicates: number
  evictions: number
  lost: number
  requeued: number
  earlierJobs: number
  jobs: Record<string, JobView>
  sites: Record<string, SiteStatus>
  workers: Record<string, WorkerView>
  contexts: Record<string, ContextView>
  transfers: Record<string, TransferView>
  /** Where the time of slots went, since the ledger was made, by what they are: `cpu`, or the name of the accelerator. */
  spent: Record<string, SpentView>
}
