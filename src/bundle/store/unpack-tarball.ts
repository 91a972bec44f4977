import { link, lstat, mkdir, readdir, realpath, stat, symlink, unlink } from 'node:fs/promises'
import path from 'node:path'
import { extract } from 'tar'
import type { ReadEntry } from 'tar'
import { BundlePath } from '../../protocol/bundle.ts'
import { BundleError, explainDisk } from '../format/errors.ts'

const TYPES = new Set<string>(['File', 'OldFile', 'ContiguousFile', 'Directory', 'SymbolicLink', 'Link'])

/** What the interpreter of a virtual environment goes by, which is most often a link to that of the system. */
const INTERPRETER = /^bin\/python[\d.]*$/
const SYSTEM_INTERPRETER = /^\/.*\/python[\d.]*$/
/** By this file an archive is a virtual environment. */
const VIRTUAL = 'pyvenv.cfg'

/** Bounds on what comes out of an archive. */
export type UnpackLimits = {
  /** All files together. */
  bytes: number
  entries: number
}

/** One file that came out: its path in the folder and its size in bytes. */
export type UnpackedFile = [path: string, size: number]

/**
 * Unpacks a tar file, gzipped or not, into a new folder. Only files, folders and links that stay inside come out, and in a
 * virtual environment its links to the system's Python; a link to nothing is left out. Anything else is an error, after
 * which the folder holds an unusable part.
 *
 * @throws {BundleError} `unsafe-archive` naming the offending entry, or `disk`.
 */
export async function unpack(archive: string, folder: string, limits: UnpackLimits): Promise<UnpackedFile[]> {
  const root = path.resolve(folder)
  const seen = new Set<string>()
  const sizes = new Map<string, number>()
  const hardLinks: Deferred[] = []
  const interpreters: Deferred[] = []
  let refusal: BundleError | undefined
  let bytes = 0

  const check = (entry: ReadEntry): BundleError | undefined => {
    const name = path.posix.normalize(entry.path).replace(/\/$/, '')
    if (name === '.') return undefined
    if (!BundlePath.safeParse(name).success) return unsafe(entry.path, 'its path leads out of the folder')
    if (!TYPES.has(entry.type)) return unsafe(entry.path, `it is a ${entry.type}`)
    const isFile = entry.type !== 'Directory' && entry.type !== 'SymbolicLink' && entry.type !== 'Link'
    // venv-pack puts one file in twice; the last one counts, as for other programs. A link never takes a file's place.
    if (seen.has(name) && !(isFile && sizes.has(name))) return unsafe(entry.path, 'it comes twice')
    if (entry.type === 'SymbolicLink') {
      const linkpath = entry.linkpath ?? ''
      const target = path.posix.join(path.posix.dirname(name), linkpath)
      if (INTERPRETER.test(name) && SYSTEM_INTERPRETER.test(linkpath)) {
        interpreters.push({ name, target: linkpath })
      } else if (path.posix.isAbsolute(linkpath || '/') || target.split('/')[0] === '..') {
        return unsafe(entry.path, `it is a link that leads out of the folder, to ${linkpath}`)
      }
    }
    if (entry.type === 'Link') {
      const target = path.posix.normalize(entry.linkpath ?? '')
      const size = sizes.get(target)
      if (size === undefined) return unsafe(entry.path, 'it is a hard link to what is no file before it')
      hardLinks.push({ name, target })
      bytes += size
    }
    bytes += entry.size
    seen.add(name)
    if (bytes > limits.bytes) return tooMuch(`more than ${limits.bytes} bytes`)
    if (seen.size > limits.entries) return tooMuch(`more than ${limits.entries} entries`)
    // Neither set-user-id bits nor folders that their owner cannot clear away.
    entry.mode = ((entry.mode ?? 0o644) & 0o777) | (entry.type === 'Directory' ? 0o700 : 0o400)
    if (isFile) sizes.set(name, entry.size)
    return undefined
  }

  try {
    await mkdir(root, { recursive: true })
    await extract({
      file: archive,
      cwd: root,
      strict: true,
      preserveOwner: false,
      noMtime: false,
      filter: (_name, entry) => {
        refusal ??= check(entry as ReadEntry)
        return refusal === undefined && !isDeferred(entry as ReadEntry)
      },
    })
  } catch (error) {
    if (refusal) throw refusal
    if (error instanceof Error && 'tarCode' in error) throw unsafe(archive, error.message, error)
    explainDisk(error, folder)
  }
  if (refusal) throw refusal
  if (interpreters.length > 0 && !seen.has(VIRTUAL)) {
    const [{ name, target }] = interpreters as [Deferred]
    throw unsafe(name, `it is a link that leads out of the folder, to ${target}, and there is no ${VIRTUAL}`)
  }
  const make = async ({ name, target }: Deferred, how: (target: string, file: string) => Promise<void>) => {
    await makeParent(root, name)
    await how(target, path.join(root, name)).catch((error: unknown) => explainDisk(error, folder))
  }
  for (const each of hardLinks) await make({ ...each, target: path.join(root, each.target) }, link)
  for (const each of interpreters) await make(each, symlink)
  await checkLinks(
    root,
    new Set(interpreters.length > 0 ? [...seen].filter((name) => INTERPRETER.test(name)) : []),
  )
  return [...sizes, ...hardLinks.map(({ name, target }): UnpackedFile => [name, sizes.get(target)!])]
}

/** A link that is made once all files are there; its target as it is in the archive. */
interface Deferred {
  name: string
  target: string
}

const isDeferred = ({ type, linkpath = '' }: ReadEntry): boolean =>
  type === 'Link' || (type === 'SymbolicLink' && path.posix.isAbsolute(linkpath))

/** Makes the folder for a file, without following a link that leads out. */
async function makeParent(root: string, name: string): Promise<void> {
  const parent = path.dirname(path.join(root, name))
  let existing = parent
  while (!(await lstat(existing).catch(() => undefined))) existing = path.dirname(existing)
  const real = await realpath(existing).catch(() => '')
  if (!(real + path.sep).startsWith((await realpath(root)) + path.sep)) {
    throw unsafe(name, 'it is behind a link that leads out of the folder')
  }
  await mkdir(parent, { recursive: true })
}

/**
 * Links that each stay inside by their text can lead out together; so ask the filesystem, before anything uses them. Those
 * to nothing go: programs that pack environments keep links of which they left out the target.
 *
 * @param interpreters names of links that may lead to the system's Python, whether this machine has that or not
 */
async function checkLinks(root: string, interpreters: ReadonlySet<string>): Promise<void> {
  const inside = (await realpath(root)) + path.sep
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue
    const link = path.join(entry.parentPath, entry.name)
    const name = path.relative(root, link)
    if (interpreters.has(name)) continue
    const found = await stat(link).catch((error: NodeJS.ErrnoException) => error.code)
    if (found === 'ENOENT' || found === 'ELOOP') {
      await unlink(link)
      continue
    }
    const target = await realpath(link).catch(() => '')
    if (!(target + path.sep).startsWith(inside)) {
      throw unsafe(name, 'it is a link that leads out of the folder')
    }
  }
}

function unsafe(entry: string, why: string, cause?: unknown): BundleError {
  return new BundleError('GLEANER_BUNDLE_UNSAFE_ARCHIVE', `"${entry}" in the archive is refused: ${why}`, {
    cause,
  })
}

function tooMuch(what: string): BundleError {
  return new BundleError('GLEANER_BUNDLE_UNSAFE_ARCHIVE', `the archive is refused: it unpacks to ${what}`)
}
