import type { Logger } from 'pino'
import { tail } from '../reconcile/pilot-exit.ts'
import { type Submission, pilotLog, readSubmissions, removeSubmission } from './submission.ts'

/** Folders of submissions whose pilots have all ended that are kept for their logs. */
const KEPT = 20

/** The submissions of one site that have folders, by their pilots. */
export function submissionFolders(siteFolder: string, log: Logger) {
  const byPilot = new Map<string, Submission>()

  function add(submission: Submission): void {
    for (const pilot of submission.pilots) byPilot.set(pilot, submission)
  }

  return {
    add,

    /** Finds those of earlier starts of the factory. */
    async read(): Promise<void> {
      for (const submission of await readSubmissions(siteFolder)) add(submission)
    },

    /** The end of a pilot's log; empty if there is none. */
    logOf(pilot: string): Promise<string> {
      const submission = byPilot.get(pilot)
      return submission ? tail(pilotLog(submission, pilot)) : Promise.resolve('')
    },

    /** Removes the folders of those whose pilots have all ended, but for the latest. */
    async clear(present: ReadonlySet<string>): Promise<void> {
      const all = [...new Set(byPilot.values())]
      const over = all.filter(({ pilots }) => !pilots.some((pilot) => present.has(pilot)))
      for (const submission of over.slice(0, -KEPT)) {
        // It stays while somebody has a file of it open on a shared filesystem: nothing to stop work for.
        const error = await removeSubmission(submission).catch((error: unknown) => error)
        if (error) log.warn({ err: error, submission: submission.id }, 'its folder cannot be removed yet')
        else submission.pilots.forEach((pilot) => byPilot.delete(pilot))
      }
    },
  }
}
