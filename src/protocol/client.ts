import { z } from 'zod'
import { BlobRef, BlobRefs } from './blob.ts'
import { BundlePath } from './bundle.ts'
import { AbsolutePath, Json, limits, Name, Serial, Sha256, Timestamp, Unicode } from './primitives.ts'
import { ContextSpec } from './contexts/context.ts'
import { KeptJson } from './json/json-text.ts'
import { Traceparent } from './trace-context.ts'
import { Progress, TaskError } from './task.ts'

/** How long something stays that is not needed, milliseconds. */
const KeepMs = z
  .int()
  .nonnegative()
  .max(365 * 24 * 3_600_000)

/** Options of a job, set when it is made. */
export const JobOptions = z.object({
  /** How often a task whose function threw is tried again. */
  retries: z.int().min(0).max(100).default(0),
  /** Longest one call may run, milliseconds. */
  timeLimitMs: z.int().positive().max(limits.taskTime).optional(),
  /** Higher goes first. */
  priority: z.int().min(-1000).max(1000).default(0),
  /** How long the blobs of its tasks and results stay after it has ended and was last looked at, milliseconds. */
  keepMs: KeepMs.default(7 * 24 * 3_600_000),
  /**
   * It is given up once no client has had to do with it for this long, milliseconds, and deleted a week after its end.
   * Default: it never is.
   */
  abandonMs: z.int().positive().max(limits.taskTime).optional(),
})
export type JobOptions = z.infer<typeof JobOptions>

/** `POST /v1/jobs`: makes the job, or finds the one of that name made for the same context and function. */
export const CreateJobRequest = z.object({
  name: Unicode.min(1).max(200),
  /** A context's name. */
  context: Name,
  /** Default: the context's first function. */
  function: Name.optional(),
  options: JobOptions.prefault({}),
})
export type CreateJobRequest = z.input<typeof CreateJobRequest>

export const JobState = z.enum(['open', 'finished', 'cancelled'])

export const JobInfo = z.object({
  id: Serial,
  name: z.string(),
  context: Name,
  /** The identity of what that name stood for when the job was made. */
  contextId: Sha256.optional(),
  function: Name,
  /** `open` until it was closed and every task has a result. */
  state: JobState,
  /** No more tasks will be added. */
  closed: z.boolean(),
  tasks: z.int(),
  done: z.int(),
  failed: z.int(),
  /** How many tasks that had failed were run again. */
  retried: z.int().default(0),
  /** Why nothing of it can run, e.g. that its context's setup fails everywhere. Its tasks stay queued. */
  problem: z.string().optional(),
  /** Why it may turn out that nothing of it can run: its context's setup failed everywhere before, and is tried once more. */
  doubt: z.string().optional(),
  createdAt: Timestamp,
  /** Its trace, with its own span: the header `traceparent` of requests that belong to it. */
  traceparent: Traceparent.optional(),
})
export type JobInfo = z.infer<typeof JobInfo>

/** `GET /v1/jobs` */
export const JobsResponse = z.object({ jobs: z.array(JobInfo) })
export type JobsResponse = z.infer<typeof JobsResponse>

/** `GET /v1/jobs/:id/errors`: in what ways its tasks failed. */
export const JobErrors = z.object({
  failed: z.int(),
  /** How many ways there are, as far as they were told apart: errors that differ in numbers or quoted texts only are one. */
  kinds: z.int(),
  /** The commonest ones first, each with the first error of its kind and where that came from. */
  errors: z.array(
    z.object({
      tasks: z.int(),
      error: TaskError,
      example: z.object({
        key: z.string(),
        worker: z.string(),
        node: z.string().optional(),
        traceparent: Traceparent.optional(),
      }),
    }),
  ),
})
export type JobErrors = z.infer<typeof JobErrors>

/** `POST /v1/jobs/:id/retry`: runs the tasks that failed again; a cancelled job also runs what it had not run yet. */
export const RetryResponse = z.object({
  /** Tasks that had failed. */
  retried: z.int(),
  job: JobInfo,
})
export type RetryResponse = z.infer<typeof RetryResponse>

/**
 * `POST /v1/jobs/:id/tasks`: adds tasks that the job does not have yet. Acknowledged once committed. If one of the keys stands for
 * another input in the job, the answer is an error with the code `changed`; with `?replace=true` the new task takes the place of
 * the old one, whose result is taken back.
 */
export const AddTasksRequest = tasksWith(Json)
export type AddTasksRequest = z.infer<typeof AddTasksRequest>

/** The same as the manager takes it in: it has no use for an input but to pass it on. */
export const ReceivedTasks = tasksWith(KeptJson)
export type ReceivedTasks = z.infer<typeof ReceivedTasks>

function tasksWith<Input extends z.ZodType>(input: Input) {
  return z.object({
    tasks: z
      .array(
        z.object({
          /** What the user calls this task: unique in its job, so that adding it again with the same input changes nothing. */
          key: Unicode.min(1).max(limits.key),
          /** The key is the text of a number: results say so, too. */
          numeric: z.boolean().optional(),
          input,
          /** Blobs that the input refers to. The manager must have them: put them first. */
          blobs: BlobRefs.optional(),
        }),
      )
      .max(limits.batch),
  })
}

export const AddTasksResponse = z.object({
  added: z.int(),
  /** Tasks the job had already. */
  known: z.int(),
  /** Tasks the job had with another input, and has no more. */
  changed: z.int().default(0),
})
export type AddTasksResponse = z.infer<typeof AddTasksResponse>

/** `POST /v1/jobs/:id/tasks/cancel`: gives up those of these tasks that have no result yet. Their keys can be used anew. */
export const CancelTasksRequest = z.object({ keys: z.array(z.string().max(limits.key)).max(limits.batch) })
export type CancelTasksRequest = z.infer<typeof CancelTasksRequest>

export const CancelTasksResponse = z.object({ cancelled: z.int() })
export type CancelTasksResponse = z.infer<typeof CancelTasksResponse>

/** `POST /v1/jobs/:id/tasks/progress`: where these tasks are. */
export const ProgressRequest = z.object({ keys: z.array(z.string().max(limits.key)).max(1000) })
export type ProgressRequest = z.infer<typeof ProgressRequest>

/** Tasks without a result, of those asked for. */
export const ProgressResponse = z.object({
  tasks: z.array(
    Progress.partial().extend({
      key: z.string(),
      /** 1, and more if it failed or crashed before. */
      attempt: z.int().positive(),
      /** The worker that has it, its node, and for how long, milliseconds; absent while it is queued. */
      worker: z.string().optional(),
      node: z.string().optional(),
      ms: z.number().nonnegative().optional(),
    }),
  ),
})
export type ProgressResponse = z.infer<typeof ProgressResponse>

/**
 * One finished task, as `GET /v1/jobs/:id/results?after=CURSOR&epoch=EPOCH&limit=N&waitMs=MS` gives them, in the order they came;
 * with `&values=false`, without their values.
 */
export const ResultRow = z.object({
  cursor: Serial,
  key: z.string(),
  /** The key is the text of a number. */
  numeric: z.boolean().optional(),
  status: z.enum(['done', 'error', 'crash']),
  value: Json.optional(),
  /** Blobs that the value refers to. */
  blobs: BlobRefs.optional(),
  error: TaskError.optional(),
  worker: z.string().optional(),
  /** The node of that worker, for a task that failed. */
  node: z.string().optional(),
  /** The end of what it printed, for a task that failed. */
  log: z.string().optional(),
  ms: z.number(),
})
export type ResultRow = z.infer<typeof ResultRow>

export const ResultsResponse = z.object({
  results: z.array(ResultRow),
  /**
   * To be sent along with the next cursor. That request is refused with the code `rewound` if what was heard so far does not hold
   * any more: results were taken back, or another ledger is in the place of the one they came from.
   */
  epoch: z.string().max(100).default(''),
  job: JobInfo,
})
export type ResultsResponse = z.infer<typeof ResultsResponse>

/** A task with its input, and its result once it has one. */
export const TaskRow = z.object({
  key: z.string(),
  /** The key is the text of a number. */
  numeric: z.boolean().optional(),
  /** Left out where it was not asked for. */
  input: Json.optional(),
  result: ResultRow.optional(),
})
export type TaskRow = z.infer<typeof TaskRow>

/** `GET /v1/jobs/:id/rows?after=TASK&limit=N`: the job's tasks in the order in which they were added. */
export const RowsResponse = z.object({
  rows: z.array(TaskRow),
  /** What `after` is for those that follow; absent if there are none. */
  next: Serial.optional(),
})
export type RowsResponse = z.infer<typeof RowsResponse>

/** `POST /v1/jobs/:id/rows`: the tasks of these keys, as far as the job has them, in their order. */
export const FindRowsRequest = z.object({
  keys: z.array(z.string().max(limits.key)).max(1000),
  /** Without their inputs. */
  resultsOnly: z.boolean().default(false),
})
export type FindRowsRequest = z.input<typeof FindRowsRequest>

export const FindRowsResponse = z.object({
  rows: z.array(TaskRow),
  /** So many of the keys were looked up: the others would have made the answer too long. */
  looked: z.int(),
})
export type FindRowsResponse = z.infer<typeof FindRowsResponse>

/** `GET /v1/jobs/:id/log?key=KEY`: what became of one task, and what it printed. */
export const TaskLog = z.object({
  key: z.string(),
  /** `queued` until it has a result. */
  status: z.enum(['queued', 'done', 'error', 'crash']),
  error: TaskError.optional(),
  worker: z.string().optional(),
  node: z.string().optional(),
  ms: z.number().optional(),
  /** The end of what it printed, if it did. */
  log: z.string().optional(),
  /** Its job's trace, with a span of its own. */
  traceparent: Traceparent.optional(),
})
export type TaskLog = z.infer<typeof TaskLog>

/** `POST /v1/contexts`: registers the context described by a file on the manager's machine; answers with its {@link ContextSpec}. */
export const AddContextRequest = z.object({
  /** A context.yaml, or the folder that holds it. */
  path: AbsolutePath,
  /** It goes, with its files, when no job has needed it for so long, milliseconds. Default: it stays. */
  keepMs: KeepMs.optional(),
})
export type AddContextRequest = z.infer<typeof AddContextRequest>

/** `POST /v1/contexts/upload`: the same for one that a client has put as blobs. */
export const UploadContextRequest = z.object({
  /** What its context.yaml would hold. */
  context: z.record(z.string(), Json),
  /** Bundles, besides those that `context` names by folders on the manager's machine. A file without a blob is empty. */
  files: z.record(Name, z.array(z.object({ path: BundlePath, blob: BlobRef.optional() })).max(20_000)),
  keepMs: KeepMs.optional(),
})
export type UploadContextRequest = z.infer<typeof UploadContextRequest>

/** `GET /v1/contexts` */
export const ContextsResponse = z.object({
  contexts: z.array(ContextSpec),
  /** Contexts that are being added: the path that was asked for, which of its bundles is being packed, and how far that is, bytes. */
  packing: z
    .array(z.object({ path: z.string(), bundle: z.string(), done: z.int(), total: z.int() }))
    .default([]),
})
export type ContextsResponse = z.infer<typeof ContextsResponse>

/** `POST /v1/reload`: what of the configuration has changed, for the user. */
export const ReloadResponse = z.object({
  /** Is in force now. */
  applies: z.array(z.string()),
  /** Takes a restart of the factory. */
  restart: z.array(z.string()),
})
export type ReloadResponse = z.infer<typeof ReloadResponse>

/** `POST /v1/stop` */
export const StopRequest = z.object({
  /** Let pilots finish the work that is queued before they are removed. */
  drain: z.boolean().default(false),
})

/** `POST /v1/keys`: makes a key for the OpenAI API. It opens nothing else. */
export const CreateKeyRequest = z.strictObject({
  name: Name,
  /** The only models that it may use. Default: all. */
  models: z.array(Name).min(1).max(100).optional(),
  /** It may look, and start nothing. */
  readOnly: z.boolean().default(false),
})
export type CreateKeyRequest = z.input<typeof CreateKeyRequest>

export const KeyInfo = z.object({
  name: Name,
  models: z.array(Name).optional(),
  readOnly: z.boolean(),
  createdAt: Timestamp,
  revokedAt: Timestamp.optional(),
})
export type KeyInfo = z.infer<typeof KeyInfo>

/** The key itself is in this answer only: the manager keeps its hash. */
export const CreateKeyResponse = KeyInfo.extend({ key: z.string() })
export type CreateKeyResponse = z.infer<typeof CreateKeyResponse>

export const KeysResponse = z.object({ keys: z.array(KeyInfo) })

/** `POST /v1/backup`: copies the ledger to a new file on the manager's machine, while work goes on. */
export const BackupRequest = z.object({
  /** A file that is not there yet. */
  file: AbsolutePath,
})
export type BackupRequest = z.infer<typeof BackupRequest>

export const BackupResponse = z.object({
  /** Its size. */
  bytes: z.int(),
  /** Of the large arguments and results that jobs have now, which are not in it but in the state folder's `blobs`. */
  blobBytes: z.int(),
})
export type BackupResponse = z.infer<typeof BackupResponse>

/** The file `endpoint.json` in the state folder, by which commands find a running factory. Mode 0600: it holds a secret. */
export const Endpoint = z.object({
  url: z.url(),
  token: z.string().min(32),
  pid: z.int(),
  host: z.string(),
})
export type Endpoint = z.infer<typeof Endpoint>
