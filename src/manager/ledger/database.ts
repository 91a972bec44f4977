import { closeSync, openSync, statSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { migrations } from './migrations.ts'

/** What reads and writes the ledger's tables: prepared statements, each made once. */
export interface Statements {
  sql(text: string): StatementSync
}

/** Another process holds this ledger. */
export class LedgerLockedError extends Error {
  override name = 'LedgerLockedError'
  readonly code = 'GLEANER_LEDGER_LOCKED'
}

/** The ledger was written by a newer version of the program. */
export class LedgerVersionError extends Error {
  override name = 'LedgerVersionError'
  readonly code = 'GLEANER_LEDGER_VERSION'
}

/** The ledger's file is not a database, or no longer one. */
export class LedgerDamagedError extends Error {
  override name = 'LedgerDamagedError'
  readonly code = 'GLEANER_LEDGER_DAMAGED'
}

const SQLITE_BUSY = 5
const SQLITE_FULL = 13
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

/**
 * Opens the ledger and brings its schema up to date, by the `steps` that it lacks.
 *
 * It is held exclusively for as long as it is open: the manager is its only writer, and with no other process to share
 * with, the write-ahead log needs no shared memory and works on network filesystems too.
 * @throws {LedgerLockedError} {@link LedgerVersionError} {@link LedgerDamagedError}
 */
export function openDatabase(file: string, steps: readonly string[] = migrations): DatabaseSync {
  if (!sizeOf(file) && sizeOf(`${file}-wal`))
    throw damaged(file, 'it is empty or missing, and its log is not')
  // Not for a moment is it anybody's but its owner's; its log gets the same mode.
  closeSync(openSync(file, 'a', 0o600))
  const db = new DatabaseSync(file, { timeout: 0 })
  try {
    db.exec('PRAGMA locking_mode = EXCLUSIVE')
    db.exec('PRAGMA journal_mode = WAL')
    db.exec('PRAGMA synchronous = FULL')
    db.exec('PRAGMA foreign_keys = OFF')
    db.exec('PRAGMA cache_size = -65536')
    migrate(db, steps)
    return db
  } catch (error) {
    db.close()
    if (codeOf(error) === SQLITE_BUSY) {
      throw new LedgerLockedError(`${file} is in use by another factory`, { cause: error })
    }
    if ([SQLITE_CORRUPT, SQLITE_NOTADB].includes(codeOf(error))) {
      throw damaged(file, (error as Error).message, error)
    }
    throw error
  }
}

/** Bytes; undefined if there is no such file. */
const sizeOf = (file: string): number | undefined => statSync(file, { throwIfNoEntry: false })?.size

function damaged(file: string, reason: string, cause?: unknown): LedgerDamagedError {
  return new LedgerDamagedError(
    `${file} is damaged (${reason}): put a backup in its place, and remove ${file}-wal; or move both away to begin anew, without the jobs`,
    { cause },
  )
}

function migrate(db: DatabaseSync, steps: readonly string[]): void {
  // Exclusive locking takes hold at the first write; a transaction with one is needed even if nothing changes.
  db.exec('BEGIN EXCLUSIVE')
  try {
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version > steps.length) {
      throw new LedgerVersionError(
        `the ledger has version ${version}, this program knows up to ${steps.length}: use a newer gleaner`,
      )
    }
    for (const step of steps.slice(version)) db.exec(step)
    db.exec(`PRAGMA user_version = ${steps.length}`)
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

function codeOf(error: unknown): number {
  return ((error as { errcode?: number } | undefined)?.errcode ?? 0) & 0xff
}

/** The disk or the quota is full, or the filesystem fails: it may pass. */
export function isDiskTrouble(error: unknown): boolean {
  return [SQLITE_FULL, SQLITE_IOERR].includes(codeOf(error))
}
