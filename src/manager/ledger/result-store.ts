import type { SQLOutputValue } from 'node:sqlite'
import type { BlobRef } from '../../protocol/blob.ts'
import type { ResultRow, TaskLog, TaskRow } from '../../protocol/client.ts'
import { JsonText, textOf } from '../../protocol/json/json-text.ts'
import type { AnyTaskResult, TaskError } from '../../protocol/task.ts'
import { taskTraceparent } from '../../protocol/trace-context.ts'
import { addBlobReferences } from './blob-references.ts'
import { newMark } from './cursor-epochs.ts'
import { nodeOf } from './pilot-store.ts'
import type { Tables } from './ledger-tables.ts'

/** A result, its value as the text that is in the ledger. */
export type StoredResult = Omit<ResultRow, 'value'> & { value?: JsonText }

/** A failure as the ledger has it. */
export interface StoredFailure {
  task: number
  worker: string
  error: TaskError
}

/** A task with its result, its input as the text that is in the ledger. */
export type StoredRow = Omit<TaskRow, 'input' | 'result'> & { input?: JsonText; result?: StoredResult }

/** A page of tasks; `next` is where the next one begins. */
export interface StoredRows {
  rows: StoredRow[]
  next?: number
}

type Row = Record<string, SQLOutputValue>

/** Numbers of tasks that one page of a job looks at: those of other jobs may be between its own. */
const WINDOW = 50_000
const ROW = 'cursor, id AS task, key, numeric, status, body, worker, ms, results.blobs'

const lengthOf = ({ body, input }: Row) =>
  ((body as string | null)?.length ?? 0) + ((input as string)?.length ?? 0)

/** Failures that are taken back in one write: others take turns with it. */
const TAKE_BACK_AT_ONCE = 5_000

/** The results of the ledger, with what tasks printed. Writes are resolved when they are on disk. */
export class ResultStore {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  /**
   * Writes down results; a task that has one keeps it. Waits as long as the disk is full: a result cannot be asked for again.
   * @returns the numbers of the tasks whose results were not kept, as the job has them no more
   */
  add(results: { job: number; result: AnyTaskResult; worker: string }[]): Promise<Set<number>> {
    return this.#tables.commits.write(
      () => {
        const dropped = new Set<number>()
        for (const { job, result, worker } of results)
          if (!this.#insert(job, result, worker)) dropped.add(result.task)
        return dropped
      },
      { persist: true, passing: results.every(({ job }) => this.#tables.passingJobs.has(job)) },
    )
  }

  #insert(job: number, { task, outcome, ms, blobs, log }: AnyTaskResult, worker: string): boolean {
    const body = outcome.status === 'done' ? outcome.value : 'error' in outcome ? outcome.error : null
    const { changes } = this.#tables
      .sql(
        'INSERT OR IGNORE INTO results SELECT job, ?, id, ?, ?, ?, ?, ? FROM tasks WHERE id = ? AND job = ?',
      )
      .run(
        this.#tables.counters.nextCursor++,
        outcome.status,
        textOf(body),
        worker,
        ms,
        blobs ? JSON.stringify(blobs) : null,
        task,
        job,
      )
    if (changes === 0) return false
    if (blobs) addBlobReferences(this.#tables, job, blobs)
    if (log !== undefined) this.#tables.sql('INSERT INTO logs VALUES (?, ?)').run(task, log)
    return true
  }

  /** The job's results after `cursor`, oldest first: up to `limit`, or as many as fit in `maxLength` characters, but at least one. */
  page(job: number, cursor: number, limit: number, maxLength = Infinity): StoredResult[] {
    const read = this.#tables.sql(
      `SELECT cursor, task, key, numeric, status, body, worker, ms, results.blobs FROM results JOIN tasks ON tasks.id = results.task
       WHERE results.job = ? AND cursor > ? ORDER BY cursor LIMIT ?`,
    )
    const results: StoredResult[] = []
    let length = 0
    for (const row of read.iterate(job, cursor, limit)) {
      length += (row.body as string).length
      if (results.length > 0 && length > maxLength) break
      results.push(this.#toResult(row))
    }
    return results
  }

  /**
   * The job's tasks with numbers above `after`, in their order, with inputs and results: those among the next {@link WINDOW} numbers of
   * all jobs, up to `limit`, or as many as fit in `maxLength` characters, but at least one.
   */
  rows(job: number, after: number, limit: number, maxLength = Infinity): StoredRows {
    const read = this.#tables.sql(
      `SELECT ${ROW}, input FROM tasks LEFT JOIN results ON results.task = tasks.id
       WHERE +tasks.job = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?`,
    )
    const { last } = this.#tables.sql('SELECT max(id) AS last FROM tasks').get() as { last: number | null }
    const end = Math.min(after + WINDOW, last ?? 0)
    const rows: StoredRow[] = []
    let length = 0
    let reached = after
    for (const row of read.iterate(job, after, end, limit)) {
      length += lengthOf(row)
      if (rows.length > 0 && length > maxLength) return { rows, next: reached }
      rows.push(this.#toRow(row))
      reached = row.task as number
    }
    const next = rows.length === limit ? reached : end
    return { rows, ...(next < (last ?? 0) && { next }) }
  }

  /** The job's tasks of these keys, in their order: of all, or of as many as fit in `maxLength` characters, but at least of one. */
  rowsOf(
    job: number,
    keys: readonly string[],
    { resultsOnly = false, maxLength = Infinity },
  ): { rows: StoredRow[]; looked: number } {
    const find = this.#tables.sql(
      `SELECT ${ROW}${resultsOnly ? '' : ', input'} FROM tasks LEFT JOIN results ON results.task = tasks.id
       WHERE tasks.job = ? AND key = ?`,
    )
    const rows: StoredRow[] = []
    let length = 0
    for (const [looked, key] of keys.entries()) {
      const row = find.get(job, key)
      if (!row) continue
      length += lengthOf(row)
      if (rows.length > 0 && length > maxLength) return { rows, looked }
      rows.push(this.#toRow(row))
    }
    return { rows, looked: keys.length }
  }

  #toRow(row: Row): StoredRow {
    return {
      key: row.key as string,
      ...(row.numeric === 1 && { numeric: true }),
      ...(row.input !== undefined && { input: new JsonText(row.input as string) }),
      ...(row.status !== null && { result: this.#toResult(row) }),
    }
  }

  #toResult(row: Row): StoredResult {
    const head = {
      cursor: row.cursor as number,
      key: row.key as string,
      ...(row.numeric === 1 && { numeric: true }),
    }
    if (row.status !== 'done') return { ...head, ...this.#ending(row) }
    const value = new JsonText(row.body as string)
    const blobs = row.blobs === null ? undefined : (JSON.parse(row.blobs as string) as BlobRef[])
    const { worker, ms } = row as { worker: string; ms: number }
    return { ...head, status: 'done', value, ...(blobs && { blobs }), worker, ms }
  }

  /** What became of the job's task of that key, and what it printed; undefined if there is none. */
  log(job: number, key: string): TaskLog | undefined {
    const row = this.#tables
      .sql(
        `SELECT tasks.id AS task, status, body, worker, ms, traceparent FROM tasks JOIN jobs ON jobs.id = tasks.job
         LEFT JOIN results ON results.task = tasks.id WHERE tasks.job = ? AND key = ?`,
      )
      .get(job, key)
    if (!row) return undefined
    const traceparent = taskTraceparent(row.traceparent as string, row.task as number)
    const trace = traceparent === undefined ? {} : { traceparent }
    return row.status === null ? { key, status: 'queued', ...trace } : { key, ...this.#ending(row), ...trace }
  }

  /** How and where a task ended, and the last that it printed. */
  #ending(row: Row) {
    const worker = row.worker as string
    const status = row.status as ResultRow['status']
    const node = nodeOf(this.#tables, worker)
    const log = this.#tables.sql('SELECT log FROM logs WHERE task = ?').get(row.task!)?.log as
      string | undefined
    return {
      status,
      ...(status !== 'done' && { error: JSON.parse(row.body as string) as TaskError }),
      worker,
      ...(node !== undefined && { node }),
      ...(log !== undefined && { log }),
      ms: row.ms as number,
    }
  }

  /**
   * Shows `visit` the failures among the job's next `limit` results after `cursor`.
   * @returns the cursor of the last of these results; undefined if the job has no more
   */
  visitFailures(
    job: number,
    cursor: number,
    limit: number,
    visit: (failure: StoredFailure) => void,
  ): number | undefined {
    const { last } = this.#tables
      .sql(
        'SELECT max(cursor) AS last FROM (SELECT cursor FROM results WHERE job = ? AND cursor > ? ORDER BY cursor LIMIT ?)',
      )
      .get(job, cursor, limit) as { last: number | null }
    if (last === null) return undefined
    const failed = this.#tables.sql(
      `SELECT task, worker, body FROM results WHERE job = ? AND cursor > ? AND cursor <= ? AND status <> 'done'`,
    )
    for (const { task, worker, body } of failed.iterate(job, cursor, last))
      visit({
        task: task as number,
        worker: worker as string,
        error: JSON.parse(body as string) as TaskError,
      })
    return last
  }

  /**
   * Takes back the failures that a job has now, a part of them at a time: their results and logs are deleted. Yields the numbers
   * of the tasks, which have no result any more once they are yielded. Tasks that were given up by themselves stay so. Killed
   * half-way, the rest of the failures are still there.
   */
  async *takeBackFailures(job: number): AsyncGenerator<number[], void> {
    const upTo = this.#tables.counters.lastCursor
    for (let after = 0; ;) {
      const taken = await this.#tables.commits.write(() => this.#deleteFailures(job, after, upTo))
      const last = taken.at(-1)
      if (!last) return
      after = last.cursor
      yield taken.map(({ task }) => task)
    }
  }

  #deleteFailures(job: number, after: number, upTo: number): { cursor: number; task: number }[] {
    const rows = this.#tables
      .sql(
        `SELECT cursor, task FROM results WHERE job = ? AND cursor > ? AND cursor <= ? AND status <> 'done'
         AND worker <> '' ORDER BY cursor LIMIT ?`,
      )
      .all(job, after, upTo, TAKE_BACK_AT_ONCE) as { cursor: number; task: number }[]
    for (const { cursor, task } of rows) {
      this.#tables.sql('DELETE FROM logs WHERE task = ?').run(task)
      this.#tables.sql('DELETE FROM results WHERE job = ? AND cursor = ?').run(job, cursor)
    }
    this.#tables
      .sql('UPDATE jobs SET retried = retried + ?, mark = ? WHERE id = ?')
      .run(rows.length, newMark(), job)
    this.#tables.counters.keepCursors()
    return rows
  }
}
