import type { Statements } from './database.ts'

/** Numbers of tasks that are reserved at once. */
const RESERVE = 100_000

/** Statements, and values that outlive the process. */
interface CounterTables extends Statements {
  meta(key: string): string | undefined
  setMeta(key: string, value: string): void
}

/**
 * Where numbers go on: of tasks, and of results' cursors, which grow over all jobs. None is used twice: a worker that was
 * lost for a while may still speak of an old task, and its value would be taken for the new one's.
 */
export class Counters {
  nextTask = 0
  nextCursor = 0
  /** Tasks up to this number may be written without a sync: a start after a loss of power goes on behind it. */
  #reserved: number
  readonly #db: CounterTables

  constructor(db: CounterTables) {
    this.#db = db
    this.#reserved = Number(db.meta('tasks-reserved') ?? 0)
    this.read()
    this.nextTask = Math.max(this.nextTask, this.#reserved + 1)
  }

  /** Takes them from what is in the ledger, also after a write that was rolled back. */
  read(): void {
    const { task } = this.#db.sql('SELECT max(id) AS task FROM tasks').get() as { task: number | null }
    // Cursors grow over all jobs, so the greatest is the last of some job.
    const last = this.#db
      .sql('SELECT max((SELECT max(cursor) FROM results WHERE job = jobs.id)) AS cursor FROM jobs')
      .get() as { cursor: number | null }
    this.nextTask = Math.max(task ?? 0, this.used('tasks')) + 1
    this.nextCursor = Math.max(last.cursor ?? 0, this.used('cursors')) + 1
  }

  /** Tasks have numbers that another start might give out again. */
  get isBeyondReserve(): boolean {
    return this.nextTask > this.#reserved + 1
  }

  reserveTasks(): void {
    this.#reserved = this.nextTask + RESERVE
    this.#db.setMeta('tasks-reserved', String(this.#reserved))
  }

  /** The greatest cursor that was ever given out. */
  get lastCursor(): number {
    return this.nextCursor - 1
  }

  /** The greatest number of what was deleted. */
  used(what: 'tasks' | 'jobs' | 'cursors'): number {
    return Number(this.#db.meta(`${what}-used`) ?? 0)
  }

  /** Tasks were deleted, perhaps the last. */
  keepTasks(): void {
    this.#db.setMeta('tasks-used', String(this.nextTask - 1))
  }

  /** Results were deleted, perhaps the last: readers have come as far as the greatest cursor there was. */
  keepCursors(): void {
    this.#db.setMeta('cursors-used', String(this.lastCursor))
  }

  keepJob(job: number): void {
    this.#db.setMeta('jobs-used', String(Math.max(job, this.used('jobs'))))
  }
}
