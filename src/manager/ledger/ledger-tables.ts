import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Logger } from 'pino'
import { Committer } from './committer.ts'
import { Counters } from './id-counters.ts'
import { openDatabase } from './database.ts'

/**
 * What all stores of the ledger write with: one database, one committer, statements that are prepared once, and values that
 * stand alone. Reads see what was committed.
 */
export class Tables {
  readonly db: DatabaseSync
  readonly commits: Committer
  readonly counters: Counters
  /** Jobs that end with this process: what is written of these alone need not outlive the machine. */
  readonly passingJobs = new Set<number>()
  readonly #statements = new Map<string, StatementSync>()

  /** @throws {LedgerLockedError} {@link LedgerVersionError} */
  constructor(file: string, log: Logger) {
    this.db = openDatabase(file)
    this.commits = new Committer(this.db, log, {
      undone: () => this.undone(),
      passed: () => {
        if (this.counters.isBeyondReserve) this.transaction(() => this.counters.reserveTasks())
      },
    })
    this.counters = new Counters(this)
  }

  /** How what is written of a job alone goes to disk. */
  careFor(job: number): { passing: boolean } {
    return { passing: this.passingJobs.has(job) }
  }

  /** A write was rolled back: what is kept of the tables in memory is made anew. */
  protected undone(): void {
    this.counters.read()
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

  /** Runs now, between the groups of the committer: for what is rare. Durable on return. */
  transaction<T>(run: () => T): T {
    this.db.exec('BEGIN IMMEDIATE')
    try {
      const value = run()
      this.db.exec('COMMIT')
      return value
    } catch (error) {
      if (this.db.isTransaction) this.db.exec('ROLLBACK')
      throw error
    }
  }

  /** A value that outlives the process. */
  meta(key: string): string | undefined {
    return this.sql('SELECT value FROM meta WHERE key = ?').get(key)?.value as string | undefined
  }

  setMeta(key: string, value: string): void {
    this.sql('INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(
      key,
      value,
    )
  }

  /** The value of that key, which `make` makes at the first request. */
  metaOrNew(key: string, make: () => string): string {
    const found = this.meta(key)
    if (found !== undefined) return found
    const value = make()
    this.setMeta(key, value)
    return value
  }

  /** Waits for the writes that are under way. */
  async close(): Promise<void> {
    await this.commits.close()
    this.db.close()
  }
}
