import { open, rm, stat } from 'node:fs/promises'
import { backup, DatabaseSync } from 'node:sqlite'
import { isDiskTrouble } from './database.ts'
import { RequestError, conflict, invalid } from '../http/api-errors.ts'
import { newMark } from './cursor-epochs.ts'
import type { Ledger } from './ledger.ts'

/** Pages copied at a time: between two portions the manager goes on with its work. */
const PAGES = 256

/**
 * Copies the ledger, as it is at some moment while this runs, to a new file that only its owner can read.
 * @param file absolute path on this machine
 * @returns its size in bytes
 * @throws {RequestError} 400 or 409 if the file cannot be made, 507 if the disk has no room for it
 */
export async function backUp(ledger: Ledger, file: string, now: number): Promise<number> {
  await createEmpty(file)
  try {
    await backup(ledger.db, file, { rate: PAGES })
    makeIndependent(file, now)
    return (await stat(file)).size
  } catch (error) {
    await rm(file, { force: true })
    if (!isDiskTrouble(error)) throw error
    throw new RequestError(507, 'GLEANER_NO_SPACE', `${file}: the disk is full: choose another one`)
  }
}

async function createEmpty(file: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw conflict(`${file} is there already: choose another name`)
    throw invalid(
      `${file} cannot be made: ${error.code === 'ENOENT' ? 'there is no such folder' : error.message}`,
    )
  })
  await handle.close()
}

/**
 * A ledger that goes on from here gives numbers to tasks and results that the one it was copied from will give to others. So workers
 * of that one must not report to it: they are told that their session has ended. Clients start their reading over.
 */
function makeIndependent(file: string, now: number): void {
  const db = new DatabaseSync(file)
  try {
    // One file, without a log beside it, is what can be copied and moved.
    db.exec('PRAGMA journal_mode = DELETE')
    db.prepare('UPDATE epochs SET mark = ? WHERE number = (SELECT max(number) FROM epochs)').run(newMark())
    db.prepare('UPDATE workers SET ended_at = ? WHERE ended_at IS NULL').run(now)
  } finally {
    db.close()
  }
}
