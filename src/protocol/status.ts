import { z } from 'zod'
import { JobInfo } from './client.ts'
import { Name, Sha256, Timestamp } from './primitives.ts'
import { Level } from './contexts/context.ts'
import { TaskError } from './task.ts'

/** Tasks by what has become of them. */
export const TaskCounts = z.object({
  queued: z.int(),
  leased: z.int(),
  done: z.int(),
  failed: z.int(),
})
export type TaskCounts = z.infer<typeof TaskCounts>

const WorkerStatus = z.object({
  id: z.string(),
  site: z.string(),
  pilot: z.string(),
  node: z.string(),
  /** How many it has. */
  slots: z.int().default(1),
  state: z.enum(['active', 'suspect', 'draining']),
  rate: z.number(),
  leased: z.int(),
  /** For how long it has had the oldest of the tasks in its hands, milliseconds. */
  oldestMs: z.number().nonnegative().optional(),
  contexts: z.array(
    z.object({
      context: z.string(),
      level: Level,
      /** The slots that hold it loaded. */
      loadedIn: z.array(z.int()).optional(),
      doing: z.enum(['fetching', 'loading']).optional(),
      bytesHeld: z.int().optional(),
      bytesTotal: z.int().optional(),
      error: TaskError.optional(),
    }),
  ),
  /** When its batch job will be ended, by the manager's clock. */
  deadline: Timestamp.optional(),
})

/**
 * What a user has told a site: to `work` as its policy says; to `pause`, which submits nothing more; or to `drain`, by which
 * waiting pilots go, too, and running ones finish what they have in hand and leave. It holds until another one is given, also
 * over restarts.
 */
export const SiteOrder = z.enum(['work', 'pause', 'drain'])
export type SiteOrder = z.infer<typeof SiteOrder>

/** What the factory knows of one site. */
export const SiteStatus = z.object({
  name: Name,
  kind: z.enum(['local', 'htcondor', 'slurm', 'pbs']),
  policy: z.string(),
  order: SiteOrder.default('work'),
  max: z.int(),
  wanted: z.int(),
  pending: z.int(),
  running: z.int(),
  held: z.int(),
  /** Pilots that have registered a worker. */
  registered: z.int(),
  /** Why it submits nothing at the moment, in the user's words. */
  paused: z.string().optional(),
  /** When it tries again, if that is why it is paused. */
  retryAt: Timestamp.optional(),
  /** Why the last pilot, or the last submission, was of no use; until one is. */
  lastFailure: z.string().optional(),
  /** What is wrong at the site beside that, such as a record of the queue that cannot be read. */
  warnings: z.array(z.string()).optional(),
  /** Why pilots wait or are held, in the batch system's words, and why some that run have not registered, with counts. */
  reasons: z.array(
    z.object({ reason: z.string(), pilots: z.int(), state: z.enum(['pending', 'held', 'running']) }),
  ),
})
export type SiteStatus = z.infer<typeof SiteStatus>

/** One pilot that has not ended, as the batch system, the ledger and its worker have it. */
export const PilotStatus = z.object({
  pilot: z.string(),
  site: Name,
  /**
   * `submitting`: given to the batch system, but its queue does not show it yet. `lost`: its worker was not heard of any more, and the
   * queue has not been looked at since.
   */
  state: z.enum(['submitting', 'pending', 'running', 'held', 'ending', 'lost']),
  /** The batch system's name of its job, once it is known. */
  jobId: z.string().optional(),
  /** Where it runs. */
  node: z.string().optional(),
  /** Why it waits or is held, in the batch system's words, or why it ends or is lost. */
  reason: z.string().optional(),
  createdAt: Timestamp.optional(),
  submittedAt: Timestamp.optional(),
  /** When its worker registered first. */
  registeredAt: Timestamp.optional(),
  /** The worker it runs now. */
  worker: z
    .object({
      id: z.string(),
      state: WorkerStatus.shape.state,
      leased: z.int(),
      tasksDone: z.int(),
      tasksFailed: z.int(),
    })
    .optional(),
})
export type PilotStatus = z.infer<typeof PilotStatus>

/** `GET /v1/pilots`: those of all sites. */
export const PilotsResponse = z.object({ now: Timestamp, pilots: z.array(PilotStatus) })
export type PilotsResponse = z.infer<typeof PilotsResponse>

/** Where a context's time went, summed over all workers, milliseconds. */
export const ContextTimes = z.object({
  context: z.string(),
  fetchMs: z.number(),
  loadMs: z.number(),
  loads: z.int(),
  inferenceMs: z.number(),
  inferences: z.int(),
})

/** A bundle on its way to a worker, and from whom its bytes came so far. */
export const Transfer = z.object({
  worker: z.string(),
  bundle: Sha256,
  heldBytes: z.int(),
  totalBytes: z.int(),
  from: z.array(z.object({ source: z.string(), bytes: z.int() })),
})
export type Transfer = z.infer<typeof Transfer>

/** `GET /v1/status` */
export const Status = z.object({
  version: z.string(),
  startedAt: Timestamp,
  now: Timestamp,
  /** That the configuration on disk is not the one in force. */
  notice: z.string().optional(),
  tasks: TaskCounts,
  /** Finished per second over the last ten seconds. */
  rate: z.number(),
  /** Results for tasks that had one already. */
  duplicates: z.int(),
  /** Workers that were told that their node is taken back, at once or at the end of their time, and said so. */
  evictions: z.int(),
  /** Workers that fell silent, for whatever reason. */
  lost: z.int().default(0),
  /** Tasks that both gave back to the queue. */
  requeued: z.int(),
  /** Those that are open, and the last few that have ended; how many more there are. */
  jobs: z.array(JobInfo),
  earlierJobs: z.int(),
  workers: z.array(WorkerStatus),
  sites: z.array(SiteStatus),
  contexts: z.array(ContextTimes.extend({ id: Sha256 })),
  transfers: z.array(Transfer),
})
export type Status = z.infer<typeof Status>
