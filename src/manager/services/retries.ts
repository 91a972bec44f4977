import { newMark, type Ledger } from '../ledger/ledger.ts'

/** Results that are taken back in one write: others take turns with it. */
const AT_ONCE = 5_000

/** Opens a cancelled job again. It gets no more tasks by itself, so it is closed. */
export function reopenJob(ledger: Ledger, job: number): Promise<void> {
  return ledger.commits.write(
    () =>
      void ledger.sql('UPDATE jobs SET closed = max(closed, cancelled), cancelled = 0 WHERE id = ?').run(job),
  )
}

/**
 * Takes back the failures that a job has now, a part of them at a time: their results and logs are deleted. Yields the numbers
 * of the tasks, which have no result any more once they are yielded. Tasks that were given up by themselves stay so. Killed
 * half-way, the rest of the failures are still there.
 */
export async function* takeBackFailures(ledger: Ledger, job: number): AsyncGenerator<number[], void> {
  const upTo = ledger.lastCursor
  for (let after = 0; ;) {
    const taken = await ledger.commits.write(() => {
      const rows = ledger
        .sql(
          `SELECT cursor, task FROM results WHERE job = ? AND cursor > ? AND cursor <= ? AND status <> 'done'
           AND worker <> '' ORDER BY cursor LIMIT ?`,
        )
        .all(job, after, upTo, AT_ONCE) as { cursor: number; task: number }[]
      for (const { cursor, task } of rows) {
        ledger.sql('DELETE FROM logs WHERE task = ?').run(task)
        ledger.sql('DELETE FROM results WHERE job = ? AND cursor = ?').run(job, cursor)
      }
      ledger
        .sql('UPDATE jobs SET retried = retried + ?, mark = ? WHERE id = ?')
        .run(rows.length, newMark(), job)
      // Readers have come as far as the greatest cursor there was, which may be gone now.
      ledger.setMeta('cursors-used', String(ledger.lastCursor))
      return rows
    })
    const last = taken.at(-1)
    if (!last) return
    after = last.cursor
    yield taken.map(({ task }) => task)
  }
}
