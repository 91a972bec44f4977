import type { SQLOutputValue } from 'node:sqlite'
import { JobOptions } from '../../protocol/client.ts'
import { dropBlobReferences } from './blob-references.ts'
import type { Tables } from './ledger-tables.ts'

/** A job as the ledger has it. */
export interface JobRow {
  id: number
  name: string
  context: string
  function: string
  options: JobOptions
  closed: boolean
  cancelled: boolean
  /** How many failed tasks were run again. */
  retried: number
  createdAt: number
  /** Its trace, with a span of its own. */
  traceparent: string
  /** The span of the client that asked for it. */
  parentSpan?: string
}

/** How many tasks a job has, how they ended, and how long their calls took, milliseconds. */
export interface JobCounts {
  tasks: number
  done: number
  failed: number
  ms: number
}

/** Tasks that are deleted in one write: others take turns with it. */
const FORGET_AT_ONCE = 5_000

/** The jobs of the ledger. Writes are resolved when they are on disk. */
export class JobStore {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  list(): JobRow[] {
    return this.#tables.sql('SELECT * FROM jobs ORDER BY id').all().map(toJob)
  }

  /** The trace of a job that there is. */
  traceparent(job: number): string {
    return this.#tables.sql('SELECT traceparent FROM jobs WHERE id = ?').get(job)!.traceparent as string
  }

  /**
   * Adds a job, unless there is one of that name; returns the one there is then.
   * @param passing its clients are gone when this process ends: its tasks and results need not survive a loss of power
   */
  async add(
    job: Omit<JobRow, 'id' | 'closed' | 'cancelled' | 'retried'>,
    { passing = false } = {},
  ): Promise<JobRow> {
    const { name, context, function: fn, options, createdAt, traceparent, parentSpan = null } = job
    const row = await this.#tables.commits.write(() => {
      this.#tables
        .sql(
          `INSERT OR IGNORE INTO jobs (id, name, context, function, options, created_at, traceparent, parent_span)
           VALUES ((SELECT max(coalesce(max(id), 0), ?) + 1 FROM jobs), ?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(
          this.#tables.counters.used('jobs'),
          ...[name, context, fn, JSON.stringify(options), createdAt, traceparent, parentSpan],
        )
      return toJob(this.#tables.sql('SELECT * FROM jobs WHERE name = ?').get(name)!)
    })
    if (passing) this.#tables.passingJobs.add(row.id)
    return row
  }

  setClosed(job: number, closed: boolean): Promise<void> {
    return this.#tables.commits.write(
      () => void this.#tables.sql('UPDATE jobs SET closed = ? WHERE id = ?').run(Number(closed), job),
    )
  }

  cancel(job: number): Promise<void> {
    return this.#tables.commits.write(
      () => void this.#tables.sql('UPDATE jobs SET cancelled = 1 WHERE id = ?').run(job),
    )
  }

  /** Opens a cancelled job again. It gets no more tasks by itself, so it is closed. */
  reopen(job: number): Promise<void> {
    return this.#tables.commits.write(
      () =>
        void this.#tables
          .sql('UPDATE jobs SET closed = max(closed, cancelled), cancelled = 0 WHERE id = ?')
          .run(job),
    )
  }

  /** Deletes a job that has ended with its tasks, results and logs; killed half-way, it has that much less of them. */
  async forget(job: number): Promise<void> {
    while ((await this.#forgetTasks(job)) > 0);
    await this.#tables.commits.write(() => {
      dropBlobReferences(this.#tables, job)
      this.#tables.sql('DELETE FROM jobs WHERE id = ?').run(job)
      this.#tables.counters.keepJob(job)
    })
    this.#tables.passingJobs.delete(job)
  }

  #forgetTasks(job: number): Promise<number> {
    return this.#tables.commits.write(() => {
      const rows = this.#tables
        .sql('SELECT id FROM tasks WHERE job = ? ORDER BY key LIMIT ?')
        .all(job, FORGET_AT_ONCE)
      for (const { id } of rows) {
        for (const table of ['logs', 'results'])
          this.#tables.sql(`DELETE FROM ${table} WHERE task = ?`).run(id!)
        this.#tables.sql('DELETE FROM tasks WHERE id = ?').run(id!)
      }
      this.#tables.counters.keepTasks()
      return rows.length
    }, this.#tables.careFor(job))
  }

  counts(job: number): JobCounts {
    const { tasks } = this.#tables.sql('SELECT count(*) AS tasks FROM tasks WHERE job = ?').get(job) as {
      tasks: number
    }
    const ended = this.#tables
      .sql(
        `SELECT count(*) AS ended, count(*) FILTER (WHERE status = 'done') AS done, total(ms) AS ms
         FROM results WHERE job = ?`,
      )
      .get(job) as { ended: number; done: number; ms: number }
    return { tasks, done: ended.done, failed: ended.ended - ended.done, ms: ended.ms }
  }
}

function toJob(row: Record<string, SQLOutputValue>): JobRow {
  return {
    id: row.id as number,
    name: row.name as string,
    context: row.context as string,
    function: row.function as string,
    // One that an older version wrote lacks what was new since.
    options: { ...JobOptions.parse({}), ...(JSON.parse(row.options as string) as Partial<JobOptions>) },
    closed: row.closed === 1,
    cancelled: row.cancelled === 1,
    retried: row.retried as number,
    createdAt: row.created_at as number,
    traceparent: row.traceparent as string,
    ...(row.parent_span !== null && { parentSpan: row.parent_span as string }),
  }
}
