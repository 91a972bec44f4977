import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, mkdir, open, rename, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { Manifest } from '../../protocol/bundle.ts'
import { add, bitmap, has } from '../format/bitmap.ts'
import type { Bitmap } from '../format/bitmap.ts'
import { CHECKED_MTIME, goodPieces } from './check-pieces.ts'
import { BundleError, errnoOf, explainDisk } from '../format/errors.ts'
import { createFileHandles } from './file-handles.ts'
import { pieceLayoutOf } from '../format/piece-layout.ts'
import type { PieceLayout } from '../format/piece-layout.ts'
import { fileKeyOf } from '../format/manifest.ts'
import type { StorePaths } from './store-paths.ts'

/** The pieces of one bundle in a store: which are there, reading them, and adding more. */
export type StoredPieces = {
  bundle: string
  layout: PieceLayout
  /** Pieces that were checked and can be read. */
  held: Bitmap
  heldPieces(): number
  heldBytes(): number
  /**
   * The bytes of `count` pieces from `first` on.
   * @param allocate makes the buffer for them.
   * @throws {BundleError} `not-found` if one is not held, or its file was removed.
   */
  read(first: number, count: number, allocate?: (bytes: number) => Buffer): Promise<Buffer>
  /** Checks a piece against its hash and stores it; false if the bytes are wrong. */
  add(piece: number, parts: Buffer[]): Promise<boolean>
  /** Calls `listener` with each piece that is added from now on. Returns how to stop. */
  watch(listener: (piece: number) => void): () => void
}

/**
 * Opens a bundle's pieces. Only one process adds to a bundle at a time (the claim `fetch`); any number read.
 *
 * @param found `all`: every piece was checked before. `check`: look for pieces on disk and check each.
 */
export async function openStoredPieces(
  storePaths: StorePaths,
  bundle: string,
  manifest: Manifest,
  found: 'all' | 'check',
  signal?: AbortSignal,
): Promise<StoredPieces> {
  const layout = pieceLayoutOf(manifest)
  const finals = manifest.files.map((file) => storePaths.file(fileKeyOf(file)))
  const partialOf = (file: number) => path.join(storePaths.partials(bundle), String(file))
  const unwritten = manifest.files.map((file) => file.pieces.length)
  const sealed = manifest.files.map(() => found === 'all')
  const created = new Set<number>()
  const adding = new Map<number, Promise<void>>()
  const listeners = new Set<(piece: number) => void>()
  const fileHandles = createFileHandles()
  const held = bitmap(layout.pieces)
  let heldPieces = 0
  let heldBytes = 0

  const note = (piece: number) => {
    add(held, piece)
    heldPieces++
    heldBytes += layout.place(piece).length
    for (const listener of listeners) listener(piece)
  }

  const seal = async (file: number) => {
    fileHandles.drop(partialOf(file))
    await sealFile(partialOf(file), finals[file]!, manifest.files[file]!.executable)
    sealed[file] = true
  }

  const write = async (piece: number, parts: Buffer[]): Promise<void> => {
    const { file, offset } = layout.place(piece)
    // Made only once: should another process have moved or removed it, a new one would have holes.
    const flags = created.has(file) ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT
    created.add(file)
    await fileHandles.use(partialOf(file), flags, async (handle) => {
      for (let rest = parts, at = offset; rest.length > 0;) {
        const { bytesWritten } = await handle.writev(rest, at)
        at += bytesWritten
        rest = dropBytes(rest, bytesWritten)
      }
    })
    unwritten[file]!--
    if (unwritten[file] === 0) await seal(file)
    note(piece)
  }

  const find = async (): Promise<void> => {
    for (const [file, entry] of manifest.files.entries()) {
      let good = await goodPieces(finals[file]!, entry, signal)
      if (good.length === entry.pieces.length && entry.size > 0) sealed[file] = true
      else good = await goodPieces(partialOf(file), entry, signal)
      unwritten[file]! -= good.length
      if (entry.size === 0) await (await open(partialOf(file), 'a')).close()
      if (!sealed[file] && unwritten[file] === 0) await seal(file)
      for (const piece of good) note(layout.firstOf[file]! + piece)
    }
  }

  if (found === 'all') {
    for (let piece = 0; piece < layout.pieces; piece++) note(piece)
  } else {
    try {
      await mkdir(storePaths.partials(bundle), { recursive: true })
      await find()
    } catch (error) {
      explainDisk(error, storePaths.folder)
    }
  }

  const readWithin = async (file: number, offset: number, target: Buffer): Promise<void> => {
    const from = (path: string, flags: number) =>
      fileHandles.use(path, flags, (handle) => handle.read(target, 0, target.length, offset))
    const read = sealed[file]
      ? from(finals[file]!, constants.O_RDONLY)
      : from(partialOf(file), constants.O_RDWR).catch((error: unknown) => {
          // Sealed while we looked.
          if (errnoOf(error) === 'ENOENT') return from(finals[file]!, constants.O_RDONLY)
          throw error
        })
    const { bytesRead } = await read
    if (bytesRead !== target.length) {
      throw new BundleError('GLEANER_BUNDLE_DAMAGED', `${finals[file]} is shorter than it was`)
    }
  }

  return {
    bundle,
    layout,
    held,
    heldPieces: () => heldPieces,
    heldBytes: () => heldBytes,
    async read(first, count, allocate = (bytes) => Buffer.allocUnsafeSlow(bytes)) {
      for (let piece = first; piece < first + count; piece++) {
        if (piece >= layout.pieces || !has(held, piece)) throw notHeld(bundle, piece)
      }
      const buffer = allocate(layout.bytes(first, count))
      let filled = 0
      for (let piece = first; piece < first + count;) {
        const { file, offset } = layout.place(piece)
        const next = Math.min(first + count, layout.firstOf[file + 1]!)
        const length = layout.bytes(piece, next - piece)
        await readWithin(file, offset, buffer.subarray(filled, filled + length)).catch((error: unknown) => {
          throw errnoOf(error) === 'ENOENT' ? notHeld(bundle, piece) : error
        })
        filled += length
        piece = next
      }
      return buffer
    },
    async add(piece, parts) {
      if (!isPiece(parts, layout.place(piece))) return false
      if (has(held, piece)) return true
      // The same piece may come from two sources at once.
      const writing = adding.get(piece) ?? write(piece, parts)
      adding.set(piece, writing)
      try {
        await writing
      } catch (error) {
        explainDisk(error, storePaths.partials(bundle))
      } finally {
        adding.delete(piece)
      }
      return true
    },
    watch(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

/** Gives a file whose every piece was checked its final mode, time and place. */
export async function sealFile(partial: string, final: string, executable: boolean): Promise<void> {
  await chmod(partial, executable ? 0o555 : 0o444)
  await utimes(partial, CHECKED_MTIME, CHECKED_MTIME)
  await mkdir(path.dirname(final), { recursive: true })
  await rename(partial, final)
}

function isPiece(parts: Buffer[], expected: { length: number; sha256: string }): boolean {
  const hash = createHash('sha256')
  let length = 0
  for (const part of parts) {
    length += part.length
    hash.update(part)
  }
  return length === expected.length && hash.digest('hex') === expected.sha256
}

function dropBytes(parts: Buffer[], bytes: number): Buffer[] {
  let left = bytes
  return parts.flatMap((part) => {
    const cut = Math.min(left, part.length)
    left -= cut
    return cut === part.length ? [] : [part.subarray(cut)]
  })
}

function notHeld(bundle: string, piece: number): BundleError {
  return new BundleError(
    'GLEANER_BUNDLE_NOT_FOUND',
    `piece ${piece} of bundle ${bundle.slice(0, 12)} is not here`,
  )
}
