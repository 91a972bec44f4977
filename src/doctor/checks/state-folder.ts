import { DatabaseSync } from 'node:sqlite'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makePrivateFolder } from '../../common/private-path.ts'
import type { MachineFacts } from '../policy/judge-machine.ts'

type FolderFacts = Omit<MachineFacts, 'nodeVersion' | 'openFiles' | 'clockKept'>

/** Looks at the state folder; makes it if it is not there, as a start would, and leaves nothing in it. */
export async function lookAtFolder(folder: string): Promise<FolderFacts> {
  const nothing = {
    folder,
    filesystem: undefined,
    freeBytes: undefined,
    freeFiles: undefined,
    locks: undefined,
    syncMs: undefined,
    filesystemClockMs: undefined,
  }
  try {
    await makePrivateFolder(folder)
    const trial = await mkdtemp(join(folder, 'doctor-'))
    try {
      const { bavail, bsize, ffree, files } = await statfs(folder)
      return {
        folder,
        unsafe: undefined,
        filesystem: await filesystemOf(folder),
        freeBytes: bavail * bsize,
        // Some filesystems make room for files as they go, and say that there is none.
        freeFiles: files > 0 ? ffree : undefined,
        locks: tryLocks(join(trial, 'trial.db')),
        syncMs: timeSyncs(join(trial, 'sync')),
        filesystemClockMs: await compareClocks(join(trial, 'clock')),
      }
    } finally {
      await rm(trial, { recursive: true, force: true })
    }
  } catch (error) {
    return { ...nothing, unsafe: (error as Error).message }
  }
}

/** Its kind, as the system mounted it: of all mount points on the way to it, the last. */
async function filesystemOf(folder: string): Promise<string | undefined> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8').catch(() => '')).split('\n')
  const kinds = new Map(
    mounts.map((line) => [line.split(' ')[1]?.replaceAll('\\040', ' '), line.split(' ')[2]]),
  )
  for (let at = folder; ; at = dirname(at)) {
    const kind = kinds.get(at)
    if (kind !== undefined || at === dirname(at)) return kind
  }
}

/** Opens a database there as the ledger is, and a second time, which must fail. */
function tryLocks(file: string): string {
  const first = new DatabaseSync(file)
  try {
    first.exec(
      'PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE trial (x); INSERT INTO trial VALUES (1)',
    )
    const second = new DatabaseSync(file, { timeout: 0 })
    try {
      second.exec('BEGIN EXCLUSIVE')
      return 'not-held'
    } catch {
      return 'held'
    } finally {
      second.close()
    }
  } catch (error) {
    return (error as Error).message
  } finally {
    first.close()
  }
}

function timeSyncs(file: string): number {
  const descriptor = openSync(file, 'w')
  try {
    const times = Array.from({ length: 9 }, () => {
      const startedAt = performance.now()
      writeSync(descriptor, 'x')
      fsyncSync(descriptor)
      return performance.now() - startedAt
    })
    return times.sort((a, b) => a - b)[4]!
  } finally {
    closeSync(descriptor)
  }
}

async function compareClocks(file: string): Promise<number> {
  await mkdir(dirname(file), { recursive: true })
  const before = Date.now()
  await writeFile(file, '')
  const { mtimeMs } = await stat(file)
  // The kernel notes times a few milliseconds late.
  return mtimeMs - (before + Date.now()) / 2
}
