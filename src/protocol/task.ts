import { z } from 'zod'
import { BlobRefs } from './blob.ts'
import { KeptJson } from './json/json-text.ts'
import { Json, limits, Milliseconds, Name, Serial } from './primitives.ts'
import { Traceparent } from './trace-context.ts'

/** What went wrong with a task, as the user sees it. */
export interface TaskError {
  name: string
  message: string
  stack?: string | undefined
  /** What led to it. */
  cause?: TaskError | undefined
  /** What it stands for, if it is for several. */
  errors?: TaskError[] | undefined
  /** The thing itself, for a client of the language of its library: in Python its pickle, in base64. */
  original?: string | undefined
  /** How a server turned the request down that its call made. */
  refusal?: ServerRefusal | undefined
}

/** What a server said that does not take a request. */
export const ServerRefusal = z.object({
  /** Of HTTP, from 400 to 499. */
  status: z.int().min(400).max(499),
  /** Its answer, cut off where it is long. */
  text: z.string().max(limits.errorText),
})
export type ServerRefusal = z.infer<typeof ServerRefusal>

const errorShape = {
  name: z.string().max(200),
  message: z.string().max(limits.errorText),
  stack: z.string().max(limits.errorText).optional(),
  original: z.string().max(limits.errorText).optional(),
  refusal: ServerRefusal.optional(),
}

/** Errors in errors go so deep; what is below is left out. */
export const TaskError: z.ZodType<TaskError> = Array.from({ length: limits.errorDepth }).reduce<
  z.ZodType<TaskError>
>(
  (inner) =>
    z.object({
      ...errorShape,
      cause: inner.optional(),
      errors: z.array(inner).max(limits.errors).optional(),
    }),
  z.object(errorShape),
)

/**
 * How one leased task ended on a worker.
 *
 * - `done`: it has a value.
 * - `error`: its function threw. The task's own fault; retried only if the job asks for it.
 * - `crash`: its library died or hung while it ran. Charged to the task, which is set aside after a few.
 * - `returned`: the worker did not run it (drain, eviction, context lost). It is no fault of the task, and never counted.
 */
export const Outcome = outcomeOf(Json)
export type Outcome = z.infer<typeof Outcome>

function outcomeOf<Value extends z.ZodType>(value: Value) {
  return z.discriminatedUnion('status', [
    z.object({ status: z.literal('done'), value }),
    z.object({ status: z.literal('error'), error: TaskError }),
    z.object({ status: z.literal('crash'), error: TaskError }),
    z.object({ status: z.literal('returned') }),
  ])
}

/** One outcome on its way to the manager. Safe to send again. */
export const TaskResult = z.object({
  task: Serial,
  /** The fencing number under which the task was leased. */
  lease: Serial,
  outcome: Outcome,
  /** Time its library spent on it, milliseconds; a batch is shared out evenly. */
  ms: Milliseconds,
  /** Blobs that its value refers to, which the worker has put. */
  blobs: BlobRefs.optional(),
  /** The end of what it printed, if it did. */
  log: z.string().max(limits.log).optional(),
})
export type TaskResult = z.infer<typeof TaskResult>

/** The same as the manager takes it in: it has no use for the value but to pass it on. */
export const ReceivedResult = TaskResult.extend({ outcome: outcomeOf(KeptJson) })

/** The same whatever is known of its value. */
export type AnyTaskResult = Omit<TaskResult, 'outcome'> & {
  outcome: Exclude<Outcome, { status: 'done' }> | { status: 'done'; value: unknown }
}

/** How far a task is, by its own account and in units of its own. */
export const Progress = z.object({
  done: z.number().nonnegative(),
  total: z.number().nonnegative().optional(),
})
export type Progress = z.infer<typeof Progress>

/** Tasks leased together: one fencing number, one context, one function. */
export const Lease = z.object({
  lease: Serial,
  /** The job that they are of, and its trace. */
  job: Serial.optional(),
  traceparent: Traceparent.optional(),
  context: z.string(),
  function: Name,
  tasks: z.array(
    z.object({
      task: Serial,
      input: Json,
      /** Blobs that the input refers to. */
      blobs: BlobRefs.optional(),
      /** Run it with no other in its library: it, or one beside it, crashed a library before. */
      alone: z.boolean().optional(),
    }),
  ),
  /** Longest one call may run, milliseconds. */
  timeLimitMs: z.int().positive().optional(),
})
export type Lease = z.infer<typeof Lease>
