import { randomBytes } from 'node:crypto'
import { readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { z } from 'zod'
import { errnoOf } from '../format/errors.ts'
import { makeFolder } from '../../common/make-folder.ts'

/*
 * Which of the processes that share a store folder still live. Each has a file `owners/TOKEN.json` that says who it is
 * and that it rewrites at intervals. On the same machine /proc tells at once whether a process lives; for processes elsewhere
 * (the folder may be on a network filesystem, or in another container) a file that was not rewritten for long means gone.
 * Times are compared between files only, so that clocks need not agree.
 */

/** How often an owner rewrites its file, milliseconds. */
const BEAT_MS = 10_000
/** How far the file of an owner elsewhere may lag behind ours before it counts as gone, milliseconds. */
const GONE_MS = 60_000

const OwnerFile = z.object({
  host: z.string(),
  /** Identities of this boot and of the process namespace; empty where the system has none to tell. */
  boot: z.string(),
  namespace: z.string(),
  pid: z.int().positive(),
  /** When the process began, in the kernel's own count; tells it from a later one with the same pid. */
  began: z.string(),
})
type OwnerFile = z.infer<typeof OwnerFile>

/** This process's membership in a store folder. */
export type StoreOwner = AsyncDisposable & {
  token: string
  /** The machine's boot, or `''` where unknown. */
  boot: string
  /** Whether the owner with this token lives. */
  lives(token: string): Promise<boolean>
  /** Tokens of owners that are gone; each is yours to clean up after, then to {@link forget}. */
  gone(): Promise<string[]>
  forget(token: string): Promise<void>
}

/** Joins the processes that share a store, until disposed of. */
export async function joinStoreOwners(folder: string): Promise<StoreOwner> {
  await makeFolder(folder)
  const token = randomBytes(8).toString('hex')
  const self = await describeSelf()
  const fileOf = (owner: string) => path.join(folder, `${owner}.json`)
  const beat = () => writeFile(fileOf(token), JSON.stringify(self))
  await beat()
  const timer = setInterval(() => void beat().catch(() => {}), BEAT_MS).unref()

  const lives = async (other: string): Promise<boolean> => {
    if (other === token) return true
    const [file, theirs, ours] = await Promise.all([
      readOwner(fileOf(other)),
      modified(fileOf(other)),
      modified(fileOf(token)),
    ])
    if (theirs === undefined) return false
    if (file && file.boot !== '' && file.boot === self.boot && file.namespace === self.namespace) {
      return (await beganAt(file.pid)) === file.began
    }
    return (ours ?? 0) - theirs < GONE_MS
  }

  return {
    token,
    boot: self.boot,
    lives,
    async gone() {
      const tokens = (await readdir(folder)).map((name) => path.basename(name, '.json'))
      const alive = await Promise.all(tokens.map(lives))
      return tokens.filter((_, index) => !alive[index])
    },
    forget: (other) => rm(fileOf(other), { force: true }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await rm(fileOf(token), { force: true })
    },
  }
}

async function describeSelf(): Promise<OwnerFile> {
  const [boot, namespace, began] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => ''),
    readlink('/proc/self/ns/pid').catch(() => ''),
    beganAt(process.pid),
  ])
  return { host: hostname(), boot: boot.trim(), namespace, pid: process.pid, began: began ?? '' }
}

/** Field 22 of /proc/PID/stat; undefined if there is no such process or no /proc. */
async function beganAt(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field, the command's name in parentheses, may itself hold spaces and parentheses.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}

/** Undefined when it is gone or only half written. */
async function readOwner(file: string): Promise<OwnerFile | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '')
  try {
    return OwnerFile.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

async function modified(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).mtimeMs
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}
