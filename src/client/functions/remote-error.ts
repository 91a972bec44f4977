import type { ResultRow } from '../../protocol/client.ts'
import type { TaskError } from '../../protocol/task.ts'
import { GleanerError } from '../errors.ts'

/**
 * A call failed where it ran. `name`, `message` and `stack` are those of the error that was thrown there, and so are `cause` and
 * `errors`, a few of each, which are Errors like it.
 */
export class RemoteError extends GleanerError {
  override readonly code = 'GLEANER_REMOTE'
  /** The call's key in its job. */
  readonly task: string
  /** Its library died or hung, as opposed to: its function threw. `stack` then ends with the last of its standard error. */
  readonly crashed: boolean
  /** The worker it ran on. */
  readonly worker: string | undefined
  /** That worker's node. */
  readonly node: string | undefined
  /** The end of what it printed, if it did. */
  readonly log: string | undefined
  /** What was thrown together, if that was an AggregateError. */
  readonly errors?: Error[]

  constructor({ key, status, error, worker, node, log }: ResultRow) {
    super(error?.message ?? 'the call failed', causeOf(error))
    this.name = error?.name ?? 'Error'
    if (error?.stack !== undefined) this.stack = error.stack
    if (error?.errors) this.errors = error.errors.map(toError)
    this.task = key
    this.crashed = status === 'crash'
    this.worker = worker
    this.node = node
    this.log = log
  }
}

function causeOf(error: TaskError | undefined): ErrorOptions | undefined {
  return error?.cause && { cause: toError(error.cause) }
}

/** An error that came along with another, as it was there. */
function toError(error: TaskError): Error {
  const { name, message, stack, errors } = error
  const made = errors
    ? new AggregateError(errors.map(toError), message, causeOf(error))
    : new Error(message, causeOf(error))
  made.name = name
  if (stack !== undefined) made.stack = stack
  return made
}

/** A call was not made, because one that it depends on failed: see `cause`. */
export class DependencyError extends GleanerError {
  override name = 'DependencyError'
  override readonly code = 'GLEANER_DEPENDENCY'

  constructor(position: number, cause: unknown) {
    const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    super(`argument ${position + 1} failed: ${why}`, { cause })
  }
}
