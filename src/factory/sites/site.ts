import type { Submission } from '../submissions/submission.ts'

/**
 * - `pending`: waits for a node
 * - `running`: has one
 * - `held`: will not start, or start again, until somebody releases it
 * - `ending`: was removed or has ended, but is still in the queue
 * - `ended`: is gone; listed for a while only, where the batch system remembers it
 */
export type JobState = 'pending' | 'running' | 'held' | 'ending' | 'ended'

/** One pilot's job, as the batch system shows it. */
export type Job = {
  jobId: string
  pilot: string
  state: JobState
  /** Why it waits, is held or ended, in the batch system's words. */
  reason?: string
  /** The node it runs on, by the name the batch system excludes it by. */
  node?: string
  /** It ended because the batch system took its node back. */
  evicted?: boolean
}

export type JobFile = { name: string; content: string }

/**
 * One batch system as one factory sees it at one site. Everything it is asked, it answers for all jobs at once.
 * What any implementation must do is written down as tests in test/factory/site-suite.ts.
 */
export interface Site {
  /** How long after a submission whose answer was lost its jobs may still turn up in the queue, milliseconds. */
  readonly lateness: number
  /** The job file a submission needs, rendered from the site's template. Pure. */
  render(submission: Submission): JobFile
  /** The command that submits it, as `--dry-run` shows it. */
  command(submission: Submission): string[]
  /**
   * Submits one job for each pilot of a submission whose folder has been written.
   * @throws {SubmitRefused} if the batch system took none; any other error leaves open whether it did.
   */
  submit(submission: Submission, signal: AbortSignal): Promise<{ pilot: string; jobId: string }[]>
  /** This site's jobs of this factory, whoever submitted them and when. */
  list(signal: AbortSignal): Promise<Job[]>
  /**
   * Removes jobs; those already gone are no error. With `unlessRunning`, one that has started in the meantime stays.
   * Returns once the batch system has been told, which may be before they are gone.
   */
  remove(jobs: Job[], options: { unlessRunning: boolean; signal: AbortSignal }): Promise<void>
}

/** The batch system said no, for good: nothing of the submission is in its queue. */
export class SubmitRefused extends Error {
  override readonly name = 'SubmitRefused'
}
