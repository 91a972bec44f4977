import type { JobFile, Submission } from '../submissions/submission.ts'
import type { CommandResult, JobFiles } from '../transports/transport.ts'

/**
 * - `pending`: waits for a node
 * - `running`: has one
 * - `held`: will not start, or start again, until it is released
 * - `ending`: was removed or has ended, but is still in the queue
 * - `ended`: is gone; listed for a while only, where the batch system remembers it
 * - `unknown`: is there, in a state that is not known here or could not be read
 */
export type JobState = 'pending' | 'running' | 'held' | 'ending' | 'ended' | 'unknown'

/** One pilot's job, as the batch system shows it. */
export type Job = {
  jobId: string
  /** Or `unknown-JOBID`, where the queue does not tell. */
  pilot: string
  state: JobState
  /** Why it waits, is held or ended, in the batch system's words. */
  reason?: string
  /** The node it runs on, by the name the batch system excludes it by. */
  node?: string
  /** It ended because the batch system took its node back. */
  evicted?: boolean
}

/** A queue as it was shown once. */
export type Listing = {
  jobs: Job[]
  /** Whether every record could be read. If not, a job that is missing here may be one of those that could not. */
  complete: boolean
  /** What could not be read, for the user. */
  oddities: string[]
}

/**
 * One batch system as one factory sees it at one site. Everything it is asked, it answers for all jobs at once.
 * What any implementation must do is written down as tests in test/factory/site-suite.ts.
 */
export interface Site {
  /** For how long a job that was submitted, or was seen, may be missing from the queue and still be there, milliseconds. */
  readonly lateness: number
  /** It sees the pilots themselves: what it does not list is gone. A batch system's answer may be late, or empty by mistake. */
  readonly certain: boolean
  /** Most pilots that one submission can have, as far as is known. */
  readonly largest: number
  /** The files of its jobs. */
  readonly files: JobFiles
  /** Whether its nodes see the files of its submit node. */
  readonly sharesFiles: boolean
  /** The job file a submission needs, rendered from the site's template. Pure. */
  render(submission: Submission): JobFile
  /** The command that submits it, as `--dry-run` shows it. */
  command(submission: Submission): string[]
  /** Asks the batch system whether it would take a submission whose folder is in place, without submitting it. */
  check(submission: Submission, signal: AbortSignal): Promise<{ accepted: boolean; said: string }>
  /**
   * Submits one job for each pilot of a submission whose folder is in place.
   * @throws {SubmitRefused} if the batch system took none; any other error leaves open whether it did.
   */
  submit(submission: Submission, signal: AbortSignal): Promise<{ pilot: string; jobId: string }[]>
  /** Asks the batch system something else, by one of its commands. @throws {TransportError} if it cannot be run */
  ask(command: readonly string[], signal: AbortSignal): Promise<CommandResult>
  /** This user's jobs of this factory at this site, whenever they were submitted. */
  list(signal: AbortSignal): Promise<Listing>
  /**
   * Removes jobs; those already gone are no error. With `unlessRunning`, one that has started in the meantime stays.
   * Returns once the batch system has been told, which may be before they are gone.
   * @throws naming what cannot be removed, once it has tried to remove all
   */
  remove(jobs: Job[], options: { unlessRunning: boolean; signal: AbortSignal }): Promise<void>
}

/** The batch system said no, for good: nothing of the submission is in its queue. */
export class SubmitRefused extends Error {
  override readonly name = 'SubmitRefused'
  /** It may take fewer pilots at once. */
  readonly tooMany: boolean

  constructor(message: string, options: ErrorOptions & { tooMany?: boolean } = {}) {
    super(message, options)
    this.tooMany = options.tooMany ?? false
  }
}
