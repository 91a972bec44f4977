import { constants } from 'node:fs'
import { copyFile, link, mkdir, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { Manifest } from '../../protocol/bundle.ts'
import { needsFitting } from './fit-environment.ts'
import { CHECKED_MTIME } from './check-pieces.ts'
import { errnoOf } from '../format/errors.ts'
import { fileKeyOf, totalBytes } from '../format/manifest.ts'
import type { StorePaths } from './store-paths.ts'
import { unpack } from './unpack-tarball.ts'
import type { UnpackedFile } from './unpack-tarball.ts'

/** Most that a tarball may unpack to: bytes per byte of the tarball, bytes of a small one, and entries. */
const UNPACK_RATIO = 200
const UNPACK_MIN = 1 << 30
const UNPACK_ENTRIES = 1_000_000

/**
 * Puts a bundle's files, all checked, into a new folder: hard links into the store, or copies where links are not
 * possible; the contents of a tarball. Returns what is in there.
 */
export async function placeContents(
  storePaths: StorePaths,
  manifest: Manifest,
  folder: string,
): Promise<UnpackedFile[]> {
  if (manifest.kind === 'tarball') {
    const bytes = Math.max(UNPACK_MIN, totalBytes(manifest) * UNPACK_RATIO)
    const [file] = manifest.files
    const archive = storePaths.file(fileKeyOf(file!))
    return unpack(archive, folder, { bytes, entries: UNPACK_ENTRIES })
  }
  await mkdir(folder, { recursive: true })
  for (const file of manifest.files) {
    const target = path.join(folder, file.path)
    await mkdir(path.dirname(target), { recursive: true })
    await linkOrCopy(storePaths.file(fileKeyOf(file)), target)
  }
  return manifest.files.map((file) => [file.path, file.size])
}

async function linkOrCopy(source: string, target: string): Promise<void> {
  try {
    await link(source, target)
  } catch (error) {
    // EMLINK: as many links as the filesystem allows; the others: it has no hard links, or not across these folders.
    if (!['EMLINK', 'EXDEV', 'EPERM', 'ENOTSUP', 'ENOSYS', 'EACCES'].includes(errnoOf(error) ?? ''))
      throw error
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    await utimes(target, CHECKED_MTIME, CHECKED_MTIME)
  }
}

/** Whether every file is still in the folder with its size. Files that were added there do not matter. */
export async function isIntact(folder: string, files: UnpackedFile[]): Promise<boolean> {
  const isFitted = needsFitting(files)
  for (const [name, size] of files) {
    const found = await stat(path.join(folder, name)).catch(() => undefined)
    // An environment that was fitted to its place has files of other sizes than it came with.
    if (!found?.isFile() || (found.size !== size && !isFitted)) return false
  }
  return true
}
