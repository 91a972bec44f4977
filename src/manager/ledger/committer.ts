import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { isDiskTrouble } from './database.ts'

/** The ledger cannot be written: nothing was acknowledged. */
export class LedgerWriteError extends Error {
  override name = 'LedgerWriteError'
  readonly code = 'GLEANER_LEDGER_WRITE'
}

interface Write {
  run: () => unknown
  resolve: (value: unknown) => void
  reject: (error: Error) => void
  /** Keep trying while the disk is in trouble: what it writes cannot be made again. */
  persist: boolean
  /** What it writes may be lost with the machine's power, though not with the process. */
  passing: boolean
}

/** Time between attempts while the disk is in trouble, milliseconds. */
const RETRY_MS = 1_000

/** What the owner of the tables does along with groups of writes. */
export interface CommitterHooks {
  /** A write or a group was undone: what it noted elsewhere is to be forgotten. */
  undone: () => void
  /** A group went without a sync; its writes are resolved next. May write, durably, what must not be lost of it. */
  passed: () => void
}

/**
 * Writes in groups: all that came in while the last group was being written goes to disk with one sync. A write is
 * resolved when it is on disk; a group of passing ones when the operating system has it, a hundred times sooner. Writes run in
 * order, so a sync covers all before it; one that throws leaves nothing of itself behind and fails alone.
 */
export class Committer {
  readonly #db: DatabaseSync
  readonly #log: Logger
  readonly #hooks: CommitterHooks
  #waiting: Write[] = []
  #running: Promise<void> | undefined
  #closed = false
  /** Set while the ledger cannot be written. */
  trouble: string | undefined
  /** Called with the time that a group of writes took to be on disk, milliseconds. */
  onCommit: (ms: number) => void = () => {}

  constructor(db: DatabaseSync, log: Logger, hooks: CommitterHooks) {
    this.#db = db
    this.#log = log
    this.#hooks = hooks
  }

  /**
   * Runs `run`, which writes with synchronous statements, in the next group; it may run again if the group fails.
   * @throws {LedgerWriteError} if the disk is full or fails, unless `persist`: then it waits until that has passed
   */
  write<T>(run: () => T, { persist = false, passing = false } = {}): Promise<T> {
    if (this.#closed) return Promise.reject(new LedgerWriteError('the ledger is closed'))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ run, resolve: resolve as (value: unknown) => void, reject, persist, passing })
      this.#running ??= this.#drain().finally(() => (this.#running = undefined))
    })
  }

  async #drain(): Promise<void> {
    // One turn of the event loop gathers what arrives together.
    await new Promise(setImmediate)
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      if (!this.#commit(group)) await sleep(RETRY_MS)
      else await new Promise(setImmediate)
    }
  }

  /** False if the disk refused it; then the writes that persist are waiting again. */
  #commit(group: Write[]): boolean {
    const settle: (() => void)[] = []
    const begunAt = performance.now()
    const isPassing = group.every(({ passing }) => passing)
    try {
      if (isPassing) this.#db.exec('PRAGMA synchronous = NORMAL')
      this.#db.exec('BEGIN IMMEDIATE')
      for (const write of group) settle.push(this.#attempt(write))
      this.#db.exec('COMMIT')
      if (isPassing) this.#db.exec('PRAGMA synchronous = FULL')
    } catch (error) {
      this.#undo(group, error as Error)
      return false
    }
    if (isPassing) this.#passed()
    if (this.trouble !== undefined) this.#log.warn('the ledger can be written again')
    this.trouble = undefined
    this.onCommit(performance.now() - begunAt)
    for (const done of settle) done()
    return true
  }

  #passed(): void {
    try {
      this.#hooks.passed()
    } catch (error) {
      // The group itself is written; the next one tries again.
      this.#log.error({ err: error }, 'the ledger cannot be written')
    }
  }

  #attempt({ run, resolve, reject }: Write): () => void {
    this.#db.exec('SAVEPOINT one')
    try {
      const value = run()
      this.#db.exec('RELEASE one')
      return () => resolve(value)
    } catch (error) {
      // Trouble with the disk ends the whole group; anything else is this write's own.
      if (isDiskTrouble(error) || !this.#db.isTransaction) throw error
      this.#db.exec('ROLLBACK TO one')
      this.#db.exec('RELEASE one')
      this.#hooks.undone()
      return () => reject(error as Error)
    }
  }

  #undo(group: Write[], error: Error): void {
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
    this.#db.exec('PRAGMA synchronous = FULL')
    this.#hooks.undone()
    if (this.trouble === undefined) this.#log.error({ err: error }, 'the ledger cannot be written')
    this.trouble = error.message
    for (const write of group) {
      if (write.persist && !this.#closed) this.#waiting.push(write)
      else write.reject(new LedgerWriteError(`cannot write the ledger: ${error.message}`, { cause: error }))
    }
  }

  /** Waits for what is under way; later writes are refused. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }
}
