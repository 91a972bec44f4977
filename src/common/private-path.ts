import { closeSync, constants, fchmodSync, fstatSync, openSync, readFileSync, type Stats } from 'node:fs'
import { chmod, lstat, mkdir, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import path from 'node:path'

/*
 * Folders and files that are this user's alone. A folder is safe if others can change neither it nor anything on the way to it, from
 * the root on; then no other user can put a link or a folder in its place later.
 */

/** Others could change, or have already changed, what is at a path. The message names whose what is, and what to do. */
export class UnsafePathError extends Error {
  override readonly name = 'UnsafePathError'
  readonly code = 'GLEANER_UNSAFE_PATH'
}

/** Who may own what is on the way to a private folder, by their ids. */
export interface Trusted {
  readonly users: ReadonlySet<number>
  /** Groups that are as good as their one member. */
  readonly groups: ReadonlySet<number>
}

type Facts = Pick<Stats, 'uid' | 'gid' | 'mode'>

const STICKY = 0o1000
const [GROUP_WRITES, OTHERS_WRITE] = [0o020, 0o002]

/** What is wrong with one step on the way to a private folder; undefined if nothing is. */
export function faultOf({ uid, gid, mode }: Facts, { users, groups }: Trusted): string | undefined {
  if (!users.has(uid)) return `belongs to another user (uid ${uid})`
  const kind = mode & constants.S_IFMT
  // The mode of a link says nothing, and in a sticky folder others may touch only what is theirs.
  if (kind === constants.S_IFLNK || (kind === constants.S_IFDIR && mode & STICKY)) return undefined
  if (mode & OTHERS_WRITE) return 'can be written by all users'
  if (mode & GROUP_WRITES && !groups.has(gid)) return `can be written by a group (gid ${gid})`
  return undefined
}

/**
 * Makes a folder of mode 0700, and those it is in, or takes one that is there: it must be this user's, on a way that others cannot
 * change, and hold nothing of others if they could write to it until now.
 *
 * @param base a folder on the way that the batch system has made for this job: what is above it is the batch system's
 * @throws {UnsafePathError}
 */
export async function makePrivateFolder(folder: string, base = '/'): Promise<void> {
  const absolute = path.resolve(folder)
  await mkdir(absolute, { recursive: true, mode: 0o700 })
  const trusted = await whoIsTrusted()
  await checkWay(path.dirname(absolute), base, trusted)
  await checkLink(absolute, trusted)
  const real = await realpath(absolute)
  await checkWay(path.dirname(real), await realpath(base), trusted)
  const facts = await stat(real)
  if (facts.uid !== process.getuid!()) refuse(absolute, `belongs to another user (uid ${facts.uid})`)
  if (facts.mode & 0o077) await chmod(real, facts.mode & 0o700)
  const fault = faultOf(facts, trusted)
  if (fault !== undefined) await refuseOthersFiles(real, fault)
}

/** Every folder from the base to this one, and every link among them. */
async function checkWay(folder: string, base: string, trusted: Trusted): Promise<void> {
  const parent = path.dirname(folder)
  if (folder === base) return
  if (parent !== folder) await checkWay(parent, base, trusted)
  const fault = faultOf(await lstat(folder), trusted)
  if (fault !== undefined) refuse(folder, fault)
}

async function checkLink(file: string, trusted: Trusted): Promise<void> {
  const facts = await lstat(file)
  if (facts.isSymbolicLink() && !trusted.users.has(facts.uid)) {
    refuse(file, `is a link that belongs to another user (uid ${facts.uid})`)
  }
}

async function refuseOthersFiles(folder: string, fault: string): Promise<void> {
  const own = process.getuid!()
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    const { uid } = await lstat(file)
    if (uid !== own) refuse(file, `belongs to another user (uid ${uid}), and its folder ${fault}`)
    if (entry.isDirectory()) await refuseOthersFiles(file, fault)
  }
}

function refuse(file: string, fault: string): never {
  throw new UnsafePathError(
    `${file} ${fault}: choose a folder that only this user can change, on a way that only this user and root can`,
  )
}

/**
 * Opens a file of this user's alone, mode 0600, and makes it if `flags` say so.
 * @param flags as of open(2); a link is never followed
 * @returns its descriptor, which is the caller's to close
 * @throws {UnsafePathError} if it is a link, not a plain file, or another user's
 */
export function openPrivateFile(file: string, flags: number): number {
  const fd = openOwn(file, flags)
  fchmodSync(fd, 0o600)
  return fd
}

/**
 * The text of a file that this user relies on.
 * @throws {UnsafePathError} if it is a link, not a plain file, or another user's, unless root reads it
 */
export function readOwnFile(file: string): string {
  const fd = openOwn(file, constants.O_RDONLY)
  try {
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

function openOwn(file: string, flags: number): number {
  const fd = openWithoutLinks(file, flags)
  const facts = fstatSync(fd)
  const own = process.getuid!()
  if (facts.isFile() && (facts.uid === own || own === 0)) return fd
  closeSync(fd)
  throw new UnsafePathError(
    facts.isFile()
      ? `${file} belongs to another user (uid ${facts.uid}): choose another folder`
      : `${file} is not a plain file: remove it`,
  )
}

function openWithoutLinks(file: string, flags: number): number {
  try {
    // A pipe that has no other end must not hold this up.
    return openSync(file, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ELOOP') {
      throw new UnsafePathError(`${file} is a link: remove it, or choose the folder that it leads to`, {
        cause: error,
      })
    }
    // A pipe without a reader.
    if (code === 'ENXIO')
      throw new UnsafePathError(`${file} is not a plain file: remove it`, { cause: error })
    throw error
  }
}

/** This user and the system. */
async function whoIsTrusted(): Promise<Trusted> {
  const { uid, gid, username } = userInfo()
  // In a container, the system's folders may seem to belong to a user other than root.
  const users = new Set([0, uid, (await stat('/')).uid])
  const groups = new Set([0])
  // Many systems give each user a group of the same name, and have new folders writable by it.
  if ((await groupName(gid)) === username) groups.add(gid)
  return { users, groups }
}

async function groupName(gid: number): Promise<string | undefined> {
  const text = await readFile('/etc/group', 'utf8').catch(() => '')
  const lines = text.split('\n').map((line) => line.split(':'))
  return lines.find(([, , id]) => id === String(gid))?.[0]
}
