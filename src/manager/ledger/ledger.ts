import { randomUUID } from 'node:crypto'
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { Logger } from 'pino'
import type { BlobRef } from '../../protocol/blob.ts'
import { JobOptions, type ResultRow, type TaskLog } from '../../protocol/client.ts'
import { limits } from '../../protocol/common.ts'
import { JsonText, textOf } from '../../protocol/json-text.ts'
import { losesNothing, parseExactly } from '../../protocol/numbers.ts'
import type { AnyTaskResult, TaskError } from '../../protocol/task.ts'
import { Committer } from './committer.ts'
import { openDatabase } from './database.ts'
import { addBlobReferences, dropBlobReferences } from './blob-references.ts'

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
}

export interface NewTask {
  key: string
  /** The key is the text of a number, which its user sees as one. */
  numeric?: boolean
  /** JSON text. */
  input: string
  /** The blobs it refers to, as JSON. */
  blobs?: string
}

/** A task's input: JSON text, and the blobs that it refers to, as JSON too. */
export interface TaskInput {
  task: number
  text: string
  blobs: string | null
}

/** What an added batch got: its tasks' numbers are `[start, end)`, without those the job had already. */
export interface AddedTasks {
  start: number
  end: number
  /** Tasks the job had already, with the same input. */
  known: number
  /** Keys of those that it had with another input, which were left alone. */
  changed: string[]
  /** Those that it had with another input and has no more. */
  replaced: TakenBack[]
}

/** A task that was deleted, and how it had ended, if it had. */
export interface TakenBack {
  task: number
  ended: 'done' | 'failed' | undefined
}

/** A result, its value as the text that is in the ledger. */
export type StoredResult = Omit<ResultRow, 'value'> & { value?: JsonText }

type Row = Record<string, SQLOutputValue>

/** Tasks that are deleted in one write: others take turns with it. */
const FORGET_AT_ONCE = 5_000

/**
 * The account of everything that must not be lost: jobs, tasks, results; contexts and blobs are in files beside. Reads see what was committed.
 * Writes are resolved when they are on disk.
 */
export class Ledger {
  readonly db: DatabaseSync
  readonly commits: Committer
  readonly #statements = new Map<string, StatementSync>()
  /** Of this start. */
  readonly #mark = newMark()
  #nextTask = 0
  #nextCursor = 0

  constructor(file: string, log: Logger) {
    this.db = openDatabase(file)
    this.commits = new Committer(this.db, log, () => this.#readCounters())
    this.#readCounters()
    this.sql('INSERT INTO epochs (mark) VALUES (?)').run(this.#mark)
  }

  /** A prepared statement, kept for the next time. */
  sql(text: string): StatementSync {
    let statement = this.#statements.get(text)
    if (!statement) {
      statement = this.db.prepare(text)
      this.#statements.set(text, statement)
    }
    return statement
  }

  #readCounters(): void {
    const { task } = this.sql('SELECT max(id) AS task FROM tasks').get() as { task: number | null }
    // Cursors grow over all jobs, so the greatest is the last of some job.
    const last = this.sql(
      'SELECT max((SELECT max(cursor) FROM results WHERE job = jobs.id)) AS cursor FROM jobs',
    ).get() as { cursor: number | null }
    this.#nextTask = Math.max(task ?? 0, this.#used('tasks')) + 1
    this.#nextCursor = Math.max(last.cursor ?? 0, this.#used('cursors')) + 1
  }

  /** The greatest cursor that was ever given out. */
  get lastCursor(): number {
    return this.#nextCursor - 1
  }

  /**
   * The greatest number of what was forgotten. None is used twice: a worker that was lost for a while may still speak of the
   * old task, and its value would be taken for the new one's.
   */
  #used(what: 'tasks' | 'jobs' | 'cursors'): number {
    return Number(this.sql('SELECT value FROM meta WHERE key = ?').get(`${what}-used`)?.value ?? 0)
  }

  // --- meta

  /** A value that outlives the process; `make` makes it at the first request. */
  meta(key: string, make: () => string): string {
    const row = this.sql('SELECT value FROM meta WHERE key = ?').get(key)
    if (row) return row.value as string
    const value = make()
    this.setMeta(key, value)
    return value
  }

  setMeta(key: string, value: string): void {
    this.sql('INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(
      key,
      value,
    )
  }

  /** The number of this start of the manager, from 1: each has fencing numbers of its own. */
  nextEpoch(): number {
    const epoch = Number(this.meta('epoch', () => '0')) + 1
    this.setMeta('epoch', String(epoch))
    return epoch
  }

  // --- jobs and tasks

  jobs(): JobRow[] {
    return this.sql('SELECT * FROM jobs ORDER BY id').all().map(toJob)
  }

  /** Adds a job, unless there is one of that name; returns the one there is then. */
  addJob(job: Omit<JobRow, 'id' | 'closed' | 'cancelled' | 'retried'>): Promise<JobRow> {
    return this.commits.write(() => {
      this.sql(
        `INSERT OR IGNORE INTO jobs (id, name, context, function, options, created_at)
         VALUES ((SELECT max(coalesce(max(id), 0), ?) + 1 FROM jobs), ?, ?, ?, ?, ?)`,
      ).run(
        this.#used('jobs'),
        job.name,
        job.context,
        job.function,
        JSON.stringify(job.options),
        job.createdAt,
      )
      return toJob(this.sql('SELECT * FROM jobs WHERE name = ?').get(job.name)!)
    })
  }

  closeJob(job: number, closed: boolean): Promise<void> {
    return this.commits.write(
      () => void this.sql('UPDATE jobs SET closed = ? WHERE id = ?').run(Number(closed), job),
    )
  }

  cancelJob(job: number): Promise<void> {
    return this.commits.write(() => void this.sql('UPDATE jobs SET cancelled = 1 WHERE id = ?').run(job))
  }

  /** Deletes a job that has ended with its tasks, results and logs; killed half-way, it has that much less of them. */
  async forgetJob(job: number): Promise<void> {
    while ((await this.#forgetTasks(job)) > 0);
    await this.commits.write(() => {
      dropBlobReferences(this, job)
      this.sql('DELETE FROM jobs WHERE id = ?').run(job)
      this.setMeta('jobs-used', String(Math.max(job, this.#used('jobs'))))
    })
  }

  #forgetTasks(job: number): Promise<number> {
    return this.commits.write(() => {
      const rows = this.sql('SELECT id FROM tasks WHERE job = ? ORDER BY key LIMIT ?').all(
        job,
        FORGET_AT_ONCE,
      )
      for (const { id } of rows) {
        for (const table of ['logs', 'results']) this.sql(`DELETE FROM ${table} WHERE task = ?`).run(id!)
        this.sql('DELETE FROM tasks WHERE id = ?').run(id!)
      }
      this.setMeta('tasks-used', String(this.#nextTask - 1))
      return rows.length
    })
  }

  /**
   * Adds the tasks whose keys the job does not have. With `replace`, a task that it has with another input makes way; its result
   * is taken back.
   */
  addTasks(job: number, tasks: NewTask[], replace = false): Promise<AddedTasks> {
    return this.commits.write(() => {
      const insert = this.sql('INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, ?)')
      const find = this.sql('SELECT id, input, blobs, numeric FROM tasks WHERE job = ? AND key = ?')
      const start = this.#nextTask
      const changed: string[] = []
      const replaced: TakenBack[] = []
      let known = 0
      for (const { key, numeric = false, input, blobs = null } of tasks) {
        const add = () => insert.run(this.#nextTask, job, key, input, blobs, Number(numeric)).changes > 0
        if (!add()) {
          const found = find.get(job, key) as unknown as FoundTask
          if (isSameInput(found, input) && found.blobs === blobs) {
            known++
            continue
          }
          if (!replace) {
            changed.push(key)
            continue
          }
          replaced.push(this.#takeBack(found.id))
          add()
        }
        this.#nextTask++
        if (blobs !== null) addBlobReferences(this, job, JSON.parse(blobs) as BlobRef[])
      }
      if (replaced.length > 0) {
        this.setMeta('tasks-used', String(this.#nextTask - 1))
        this.setMeta('cursors-used', String(this.lastCursor))
      }
      if (replaced.some(({ ended }) => ended))
        this.sql('UPDATE jobs SET mark = ? WHERE id = ?').run(newMark(), job)
      return { start, end: this.#nextTask, known, changed, replaced }
    })
  }

  /** Deletes a task, with its result. What a worker still says of it is ignored. */
  #takeBack(task: number): TakenBack {
    const status = this.sql('DELETE FROM results WHERE task = ? RETURNING status').get(task)?.status
    this.sql('DELETE FROM logs WHERE task = ?').run(task)
    this.sql('DELETE FROM tasks WHERE id = ?').run(task)
    return { task, ended: status === undefined ? undefined : status === 'done' ? 'done' : 'failed' }
  }

  /**
   * Takes the keys from those of these tasks that have no result, so that they can be used anew; returns the tasks' numbers.
   * The tasks stay, since a worker may still speak of them, under names that are longer than any key can be.
   */
  releaseKeys(job: number, keys: string[]): Promise<number[]> {
    return this.commits.write(() => {
      const release = this.sql(
        `UPDATE tasks SET key = printf('%s (cancelled, task %0${limits.key}d)', key, id) WHERE job = ? AND key = ?
         AND NOT EXISTS (SELECT 1 FROM results WHERE task = tasks.id) RETURNING id`,
      )
      return keys.flatMap((key) => release.all(job, key).map(({ id }) => id as number))
    })
  }

  /**
   * The inputs of these tasks, in the order asked for, without those that were taken back: of all of them, or of as many as fit
   * in `maxLength` characters, but at least one. Tasks with neighbouring numbers cost one look-up.
   */
  inputs(tasks: number[], maxLength = Infinity): TaskInput[] {
    const read = this.sql('SELECT id, input, blobs FROM tasks WHERE id BETWEEN ? AND ? ORDER BY id')
    const inputs: TaskInput[] = []
    let length = 0
    for (let i = 0; i < tasks.length;) {
      let last = i
      while (last + 1 < tasks.length && tasks[last + 1] === tasks[last]! + 1) last++
      for (const row of read.iterate(tasks[i]!, tasks[last]!)) {
        const task = row.id as number
        const input = { task, text: row.input as string, blobs: row.blobs as string | null }
        length += input.text.length + (input.blobs?.length ?? 0)
        if (inputs.length > 0 && length > maxLength) return inputs
        inputs.push(input)
      }
      i = last + 1
    }
    return inputs
  }

  /** The number of the job's task of that key. */
  taskNumber(job: number, key: string): number | undefined {
    return this.sql('SELECT id FROM tasks WHERE job = ? AND key = ?').get(job, key)?.id as number | undefined
  }

  /** What its user calls a task of this number. */
  keyOf(task: number): string {
    return this.sql('SELECT key FROM tasks WHERE id = ?').get(task)!.key as string
  }

  /** Numbers of the job's tasks without a result, as ranges `[start, end)`. */
  *unfinished(job: number): Generator<[start: number, end: number]> {
    const rows = this.db
      .prepare(
        `SELECT id FROM tasks WHERE job = ? AND NOT EXISTS (SELECT 1 FROM results WHERE task = tasks.id) ORDER BY id`,
      )
      .iterate(job)
    let range: [number, number] | undefined
    for (const { id } of rows as Iterable<{ id: number }>) {
      if (range && range[1] === id) range[1]++
      else {
        if (range) yield range
        range = [id, id + 1]
      }
    }
    if (range) yield range
  }

  /** How many tasks a job has, and how they ended. */
  counts(job: number): { tasks: number; done: number; failed: number; ms: number } {
    const { tasks } = this.sql('SELECT count(*) AS tasks FROM tasks WHERE job = ?').get(job) as {
      tasks: number
    }
    const ended = this.sql(
      `SELECT count(*) AS ended, count(*) FILTER (WHERE status = 'done') AS done, total(ms) AS ms
       FROM results WHERE job = ?`,
    ).get(job) as { ended: number; done: number; ms: number }
    return { tasks, done: ended.done, failed: ended.ended - ended.done, ms: ended.ms }
  }

  // --- results

  /**
   * Writes down results; a task that has one keeps it. Waits as long as the disk is full: a result cannot be asked for again.
   * @returns the numbers of the tasks whose results were not kept, as the job has them no more
   */
  addResults(results: { job: number; result: AnyTaskResult; worker: string }[]): Promise<Set<number>> {
    return this.commits.write(
      () => {
        const dropped = new Set<number>()
        const insert = this.sql(
          'INSERT OR IGNORE INTO results SELECT job, ?, id, ?, ?, ?, ?, ? FROM tasks WHERE id = ? AND job = ?',
        )
        for (const { job, result, worker } of results) {
          const { outcome } = result
          const body = outcome.status === 'done' ? outcome.value : 'error' in outcome ? outcome.error : null
          const { changes } = insert.run(
            this.#nextCursor++,
            outcome.status,
            textOf(body),
            worker,
            result.ms,
            result.blobs ? JSON.stringify(result.blobs) : null,
            result.task,
            job,
          )
          if (changes === 0) {
            dropped.add(result.task)
            continue
          }
          if (result.blobs) addBlobReferences(this, job, result.blobs)
          if (result.log !== undefined)
            this.sql('INSERT INTO logs VALUES (?, ?)').run(result.task, result.log)
        }
        return dropped
      },
      { persist: true },
    )
  }

  /** What the job's cursors, and all that was heard of it, belong to. */
  epochOf(job: number): string {
    return `${this.#mark}.${this.#markOf(job)}`
  }

  /** Whether all that was heard of a job in that epoch still holds. */
  holds(job: number, epoch: string): boolean {
    const [start = '', mark] = epoch.split('.')
    return (
      mark === this.#markOf(job) && this.sql('SELECT 1 FROM epochs WHERE mark = ?').get(start) !== undefined
    )
  }

  #markOf(job: number): string {
    return this.sql('SELECT mark FROM jobs WHERE id = ?').get(job)?.mark as string
  }

  /** The job's results after `cursor`, oldest first: up to `limit`, or as many as fit in `maxLength` characters, but at least one. */
  results(job: number, cursor: number, limit: number, maxLength = Infinity): StoredResult[] {
    const read = this.sql(
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
  taskLog(job: number, key: string): TaskLog | undefined {
    const row = this.sql(
      `SELECT id AS task, status, body, worker, ms FROM tasks LEFT JOIN results ON results.task = tasks.id
       WHERE tasks.job = ? AND key = ?`,
    ).get(job, key)
    if (!row) return undefined
    return row.status === null ? { key, status: 'queued' } : { key, ...this.#ending(row) }
  }

  /** How and where a task ended, and the last that it printed. */
  #ending(row: Row) {
    const worker = row.worker as string
    const status = row.status as ResultRow['status']
    const node = this.nodeOf(worker)
    const log = this.#logOf(row.task as number)
    return {
      status,
      ...(status !== 'done' && { error: JSON.parse(row.body as string) as TaskError }),
      worker,
      ...(node !== undefined && { node }),
      ...(log !== undefined && { log }),
      ms: row.ms as number,
    }
  }

  #logOf(task: number): string | undefined {
    return this.sql('SELECT log FROM logs WHERE task = ?').get(task)?.log as string | undefined
  }

  /** The node that a worker ran on, if the worker is known. */
  nodeOf(worker: string): string | undefined {
    const row = this.sql(`SELECT info ->> 'node' AS node FROM workers WHERE id = ?`).get(
      Number(worker.slice(1)),
    )
    return (row?.node as string | null | undefined) ?? undefined
  }

  async close(): Promise<void> {
    await this.commits.close()
    this.db.close()
  }
}

interface FoundTask {
  id: number
  input: string
  blobs: string | null
  /** Null for one that an older version added, which did not keep the texts of numbers. */
  numeric: number | null
}

function isSameInput({ input, numeric }: FoundTask, text: string): boolean {
  if (input === text) return true
  return numeric === null && input === JSON.stringify(JSON.parse(text)) && losesNothing(parseExactly(text))
}

/** Random, so that no two ledgers have the same, whatever they were copied from. */
export const newMark = () => randomUUID().slice(0, 18)

function toJob(row: Row): JobRow {
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
  }
}
