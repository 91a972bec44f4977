import type { PilotStatus } from '../../client/index.ts'
import { cell, count, duration, isLong, table, withNotes } from './format.ts'

/** @param now by the manager's clock, as the times of the pilots are */
export function pilotsTable(pilots: readonly PilotStatus[], now: number): string {
  const notes = pilots.flatMap(({ pilot, reason = '' }) =>
    isLong(reason) ? [{ row: pilot, text: reason }] : [],
  )
  const ago = (at: number | undefined) => (at === undefined ? '' : duration(Math.max(0, now - at)))
  const columns = table(pilots, [
    ['PILOT', ({ pilot }) => pilot],
    ['SITE', ({ site }) => site],
    ['JOB', ({ jobId = '' }) => jobId],
    ['STATE', ({ state }) => state],
    ['SUBMITTED', ({ submittedAt }) => ago(submittedAt)],
    ['UP', ({ registeredAt }) => ago(registeredAt)],
    ['NODE', ({ node = '' }) => node],
    ['WORKER', ({ worker }) => (worker ? `${worker.id} ${worker.state}` : '')],
    ['TASKS', ({ worker }) => (worker ? count(worker.leased) : '')],
    ['DONE', ({ worker }) => (worker ? count(worker.tasksDone) : '')],
    ['FAILED', ({ worker }) => (worker ? count(worker.tasksFailed) : '')],
    ['WHY', ({ reason = '' }) => cell(reason)],
  ])
  return withNotes(columns, notes)
}
