import { mkdir, readdir, realpath } from 'node:fs/promises'
import path from 'node:path'
import { extract } from 'tar'
import type { ReadEntry } from 'tar'
import { BundlePath } from '../../protocol/bundle.ts'
import { BundleError, explainDisk } from '../format/errors.ts'

const TYPES = new Set<string>(['File', 'OldFile', 'ContiguousFile', 'Directory', 'SymbolicLink'])

/** Bounds on what comes out of an archive. */
export type UnpackLimits = {
  /** All files together. */
  bytes: number
  entries: number
}

/** One file that came out: its path in the folder and its size in bytes. */
export type UnpackedFile = [path: string, size: number]

/**
 * Unpacks a tar file, gzipped or not, into a new folder. Only files, folders and symbolic links that stay inside come
 * out; anything else is an error, after which the folder holds an unusable part.
 *
 * @throws {BundleError} `unsafe-archive` naming the offending entry, or `disk`.
 */
export async function unpack(archive: string, folder: string, limits: UnpackLimits): Promise<UnpackedFile[]> {
  const root = path.resolve(folder)
  const files: UnpackedFile[] = []
  const seen = new Set<string>()
  let refusal: BundleError | undefined
  let bytes = 0

  const check = (entry: ReadEntry): BundleError | undefined => {
    const name = path.posix.normalize(entry.path).replace(/\/$/, '')
    if (name === '.') return undefined
    if (!BundlePath.safeParse(name).success) return unsafe(entry.path, 'its path leads out of the folder')
    if (!TYPES.has(entry.type)) return unsafe(entry.path, `it is a ${entry.type}`)
    if (seen.has(name)) return unsafe(entry.path, 'it comes twice')
    if (entry.type === 'SymbolicLink') {
      const target = path.posix.join(path.posix.dirname(name), entry.linkpath ?? '')
      if (path.posix.isAbsolute(entry.linkpath ?? '/') || target.split('/')[0] === '..') {
        return unsafe(entry.path, 'it is a link that leads out of the folder')
      }
    }
    bytes += entry.size
    seen.add(name)
    if (bytes > limits.bytes) return tooMuch(`more than ${limits.bytes} bytes`)
    if (seen.size > limits.entries) return tooMuch(`more than ${limits.entries} entries`)
    // Neither set-user-id bits nor folders that their owner cannot clear away.
    entry.mode = ((entry.mode ?? 0o644) & 0o777) | (entry.type === 'Directory' ? 0o700 : 0o400)
    if (entry.type !== 'Directory' && entry.type !== 'SymbolicLink') files.push([name, entry.size])
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
        return refusal === undefined
      },
    })
  } catch (error) {
    if (refusal) throw refusal
    if (error instanceof Error && 'tarCode' in error) throw unsafe(archive, error.message, error)
    explainDisk(error, folder)
  }
  if (refusal) throw refusal
  await checkLinks(root)
  return files
}

/** Links that each stay inside by their text can lead out together; so ask the filesystem, before anything uses them. */
async function checkLinks(root: string): Promise<void> {
  const inside = (await realpath(root)) + path.sep
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue
    const link = path.join(entry.parentPath, entry.name)
    const target = await realpath(link).catch(() => '')
    if (!(target + path.sep).startsWith(inside)) {
      throw unsafe(path.relative(root, link), 'it is a link to nothing inside the folder')
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
