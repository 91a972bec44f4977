import type { Logger } from 'pino'
import type { JobFiles } from '../transports/transport.ts'
import { type Submission, pilotLog, readSubmissions, removeSubmission } from './submission.ts'

/** Folders of submissions whose pilots have all ended that are kept for their logs. */
const KEPT = 20

/** How much of a log's end tells how its pilot ended, bytes. */
const LOG_END = 4096

/** The submissions of one site that have folders, by their pilots. */
export function submissionFolders(siteFolder: string, files: JobFiles, log: Logger) {
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
    async logOf(pilot: string, signal: AbortSignal): Promise<string> {
      const submission = byPilot.get(pilot)
      return submission ? await files.tail(pilotLog(submission, pilot), LOG_END, signal) : ''
    },

    /** Removes the folders of those whose pilots have all ended, but for the latest. */
    async clear(present: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
      const all = [...new Set(byPilot.values())]
      const over = all.filter(({ pilots }) => !pilots.some((pilot) => present.has(pilot)))
      for (const submission of over.slice(0, -KEPT)) {
        // It stays while a process has a file of it open on a shared filesystem: nothing to stop work for.
        const error = await files
          .remove(submission.folder, signal)
          .then(() => removeSubmission(submission))
          .catch((error: unknown) => error)
        if (error) log.warn({ err: error, submission: submission.id }, 'its folder cannot be removed yet')
        else submission.pilots.forEach((pilot) => byPilot.delete(pilot))
      }
    },
  }
}
