import { randomUUID, webcrypto } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, mkdir, open, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import PQueue from 'p-queue'
import { PIECE_MIN } from '../../protocol/bundle.ts'
import type { Manifest, ManifestFile } from '../../protocol/bundle.ts'
import { BundleError, explainDisk } from '../format/errors.ts'
import { bundleIdOf } from '../format/manifest.ts'
import { GZIP, pack } from './pack-tarball.ts'
import { assertUnchanged, scan } from './scan-files.ts'
import type { ScannedFile } from './scan-files.ts'
import type { Store } from '../store/store.ts'

/**
 * A file has at most so many pieces, within bounds on their size (bytes): enough that workers soon have different ones to give
 * each other, and that what each has in hand does not hold up the others; few enough that the manifest stays small and a
 * request worth while. It depends on the file alone, so that bundles share equal files. A file that was cut before stays as it was.
 */
const PIECES_AIM = 512
const PIECE_SMALLEST = PIECE_MIN
const PIECE_LARGEST = 1 << 20
/** Files, and pieces of one file, that are read at once. */
const FILES_AT_ONCE = 4
const PIECES_AT_ONCE = 4

export type CreateOptions = {
  store: Store
  /** Files and folders. What is in a folder gets its path within that folder; a file its own name. */
  paths: string[]
  /** `files`: as they are. `tarball`: one folder, packed, or a tar file as it is; unpacked again where it is used. */
  kind: 'files' | 'tarball'
  /** Makes the bundle known by this name in the store. */
  name?: string
  /**
   * Bundles of before, the newest first: a file that one of them has under the same path and in the same size is cut into pieces
   * of the same size, so that what has not changed is the same bundle, whatever this version cuts files into.
   */
  like?: readonly Manifest[]
  /** Hears how many bytes of how many are copied and hashed. */
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

/**
 * Makes a bundle in the store, or finds that it is there already. Its files are copied (shared, where the filesystem can
 * do that), so that later changes to them do no harm.
 *
 * @throws {BundleError} `bad-input`, `changed`, `no-room` or `disk`, naming the offending path.
 */
export async function createBundle(options: CreateOptions): Promise<{ id: string; manifest: Manifest }> {
  const { store, signal, name } = options
  const draft = path.join(store.temporary, randomUUID())
  try {
    await mkdir(draft)
    const files = options.kind === 'files' ? await gather(options.paths) : [await packed(options, draft)]
    const staged = files.map((_, index) => path.join(draft, String(index)))
    const total = files.reduce((sum, { size }) => sum + size, 0)
    let done = 0
    const onHashed = (bytes: number) => options.onProgress?.((done += bytes), total)
    onHashed(0)
    const queue = new PQueue({ concurrency: FILES_AT_ONCE })
    const pieceSizeOf = cutLike(options.like ?? [])
    const entries = await queue.addAll(
      files.map((file, index) => () => stage(file, pieceSizeOf(file), staged[index]!, onHashed, signal)),
      signal && { signal },
    )
    const manifest: Manifest = { version: 1, kind: options.kind, files: entries }
    const id = bundleIdOf(manifest)
    await adopt(store, id, manifest, staged, signal)
    if (name !== undefined) await store.setName(name, id)
    return { id, manifest }
  } catch (error) {
    explainDisk(error, store.folder)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

/** All files of these paths, in the order that manifests have. */
async function gather(paths: string[]): Promise<ScannedFile[]> {
  const files = new Map<string, ScannedFile>()
  for (const root of paths) {
    for (const file of (await scan(root, 'follow')).files) {
      const other = files.get(file.path)
      if (other) {
        throw new BundleError(
          'GLEANER_BUNDLE_INPUT',
          `${other.source} and ${file.source} would both be "${file.path}"`,
        )
      }
      files.set(file.path, file)
    }
  }
  if (files.size === 0)
    throw new BundleError('GLEANER_BUNDLE_INPUT', `there are no files in ${paths.join(', ')}`)
  return [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Whether a file is named as what a tarball bundle is made of. */
export const isTarName = (name: string): boolean => /\.(tar|tar\.gz|tgz)$/.test(name)

async function packed({ paths, signal }: CreateOptions, draft: string): Promise<ScannedFile> {
  const [folder, ...others] = paths
  if (folder !== undefined && others.length === 0 && isTarName(folder)) {
    const [file] = (await scan(folder, 'follow')).files
    if (file) return { ...file, path: folder.endsWith('.tar') ? 'bundle.tar' : 'bundle.tar.gz' }
  }
  if (folder === undefined || others.length > 0 || !(await stat(folder)).isDirectory()) {
    throw new BundleError(
      'GLEANER_BUNDLE_INPUT',
      'a tarball is made of one folder, or of one .tar, .tar.gz or .tgz file',
    )
  }
  const source = path.join(draft, 'packed')
  await pack(folder, source, GZIP, signal)
  const stats = await stat(source)
  return { path: 'bundle.tar.gz', source, size: stats.size, executable: false, stats }
}

function cutLike(manifests: readonly Manifest[]): (file: ScannedFile) => number {
  const known = new Map<string, number>()
  const nameOf = ({ path, size }: { path: string; size: number }) => `${size} ${path}`
  for (const { files } of manifests) {
    for (const file of files) if (!known.has(nameOf(file))) known.set(nameOf(file), file.pieceSize)
  }
  return (file) => known.get(nameOf(file)) ?? pieceSizeFor(file.size)
}

function pieceSizeFor(size: number): number {
  let pieceSize = PIECE_SMALLEST
  while (pieceSize < PIECE_LARGEST && size / pieceSize > PIECES_AIM) pieceSize *= 2
  return pieceSize
}

/** Copies a file and takes the hashes of the copy, so that what is stored is what was hashed. */
async function stage(
  file: ScannedFile,
  pieceSize: number,
  target: string,
  onHashed: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<ManifestFile> {
  signal?.throwIfAborted()
  await copyFile(file.source, target, constants.COPYFILE_FICLONE)
  await assertUnchanged(file)
  const { path, size, executable } = file
  return {
    path,
    size,
    executable,
    pieceSize,
    pieces: await hashPieces(target, size, pieceSize, onHashed, signal),
  }
}

async function hashPieces(
  file: string,
  size: number,
  pieceSize: number,
  onHashed: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<string[]> {
  const hashes = new Array<string>(Math.ceil(size / pieceSize))
  const handle = await open(file, 'r')
  let next = 0
  const lane = async () => {
    const buffer = Buffer.allocUnsafe(Math.min(pieceSize, size))
    while (next < hashes.length) {
      signal?.throwIfAborted()
      const piece = next++
      const length = Math.min(pieceSize, size - piece * pieceSize)
      const { bytesRead } = await handle.read(buffer, 0, length, piece * pieceSize)
      if (bytesRead !== length)
        throw new BundleError('GLEANER_BUNDLE_CHANGED', `${file} became shorter while it was read`)
      // This digest runs on a thread of its own, unlike node:crypto's.
      const digest = await webcrypto.subtle.digest('SHA-256', buffer.subarray(0, length))
      hashes[piece] = Buffer.from(digest).toString('hex')
      onHashed(length)
    }
  }
  try {
    await Promise.all(Array.from({ length: PIECES_AT_ONCE }, lane))
  } finally {
    await handle.close()
  }
  return hashes
}

async function adopt(
  store: Store,
  id: string,
  manifest: Manifest,
  staged: string[],
  signal?: AbortSignal,
): Promise<void> {
  for (;;) {
    const claim = await store.claimFetch(id)
    if (claim) {
      try {
        if (!(await store.isComplete(id, signal))) await store.adopt(id, manifest, staged)
        return
      } finally {
        await claim.release()
      }
    }
    await sleep(100, undefined, signal && { signal })
  }
}
