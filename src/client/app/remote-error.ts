import type { ResultRow } from '../../protocol/client.ts'
import { GleanerError } from '../errors.ts'

/** A call failed where it ran. `name`, `message` and `stack` are those of the error that was thrown there. */
export class RemoteError extends GleanerError {
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

  constructor({ key, status, error, worker, node, log }: ResultRow) {
    super(error?.message ?? 'the call failed')
    this.name = error?.name ?? 'Error'
    if (error?.stack !== undefined) this.stack = error.stack
    this.task = key
    this.crashed = status === 'crash'
    this.worker = worker
    this.node = node
    this.log = log
  }
}

/** A call was not made, because one that it depends on failed: see `cause`. */
export class DependencyError extends GleanerError {
  override name = 'DependencyError'

  constructor(position: number, cause: unknown) {
    const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    super(`argument ${position + 1} failed: ${why}`, { cause })
  }
}
