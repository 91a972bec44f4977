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
import { fileKeyOf, sha256 } from '../format/manifest.ts'
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
  add(piece: number, bytes: Buffer): Promise<boolean>
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
  const pieces = new PiecesOnDisk(storePaths, bundle, manifest)
  if (found === 'all') pieces.trustAll()
  else await pieces.find(signal)
  const { layout, held } = pieces
  return {
    bundle,
    layout,
    held,
    heldPieces: () => pieces.heldPieces,
    heldBytes: () => pieces.heldBytes,
    read: (first, count, allocate) => pieces.read(first, count, allocate),
    add: (piece, bytes) => pieces.add(piece, bytes),
    watch: (listener) => pieces.watch(listener),
  }
}

/** What {@link openStoredPieces} keeps, and how it reads and writes. */
class PiecesOnDisk {
  heldPieces = 0
  heldBytes = 0
  readonly layout: PieceLayout
  readonly held: Bitmap
  readonly #bundle: string
  readonly #storePaths: StorePaths
  readonly #files: Manifest['files']
  /** By file: where it is once it is whole, how many of its pieces are not written, and whether it is whole. */
  readonly #finals: string[]
  readonly #unwritten: number[]
  readonly #sealed: boolean[]
  readonly #created = new Set<number>()
  readonly #adding = new Map<number, Promise<void>>()
  readonly #listeners = new Set<(piece: number) => void>()
  readonly #fileHandles = createFileHandles()

  constructor(storePaths: StorePaths, bundle: string, manifest: Manifest) {
    this.#bundle = bundle
    this.layout = pieceLayoutOf(manifest)
    this.held = bitmap(this.layout.pieces)
    this.#storePaths = storePaths
    this.#files = manifest.files
    this.#finals = manifest.files.map((file) => storePaths.file(fileKeyOf(file)))
    this.#unwritten = manifest.files.map((file) => file.pieces.length)
    this.#sealed = manifest.files.map(() => false)
  }

  /** Every piece was checked before. */
  trustAll(): void {
    this.#sealed.fill(true)
    for (let piece = 0; piece < this.layout.pieces; piece++) this.#note(piece)
  }

  /** Looks for pieces on disk, and checks each. */
  async find(signal: AbortSignal | undefined): Promise<void> {
    try {
      await mkdir(this.#storePaths.partials(this.#bundle), { recursive: true })
      for (const file of this.#files.keys()) await this.#findIn(file, signal)
    } catch (error) {
      explainDisk(error, this.#storePaths.folder)
    }
  }

  async #findIn(file: number, signal: AbortSignal | undefined): Promise<void> {
    const entry = this.#files[file]!
    let good = await goodPieces(this.#finals[file]!, entry, signal)
    if (good.length === entry.pieces.length && entry.size > 0) this.#sealed[file] = true
    else good = await goodPieces(this.#partialOf(file), entry, signal)
    this.#unwritten[file]! -= good.length
    if (entry.size === 0) await (await open(this.#partialOf(file), 'a')).close()
    if (!this.#sealed[file] && this.#unwritten[file] === 0) await this.#seal(file)
    for (const piece of good) this.#note(this.layout.firstOf[file]! + piece)
  }

  async read(
    first: number,
    count: number,
    allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafeSlow(bytes),
  ): Promise<Buffer> {
    for (let piece = first; piece < first + count; piece++) {
      if (piece >= this.layout.pieces || !has(this.held, piece)) throw notHeld(this.#bundle, piece)
    }
    const buffer = allocate(this.layout.bytes(first, count))
    let filled = 0
    for (let piece = first; piece < first + count;) {
      const { file, offset } = this.layout.place(piece)
      const next = Math.min(first + count, this.layout.firstOf[file + 1]!)
      const length = this.layout.bytes(piece, next - piece)
      await this.#readWithin(file, offset, buffer.subarray(filled, filled + length)).catch(
        (error: unknown) => {
          throw errnoOf(error) === 'ENOENT' ? notHeld(this.#bundle, piece) : error
        },
      )
      filled += length
      piece = next
    }
    return buffer
  }

  async #readWithin(file: number, offset: number, target: Buffer): Promise<void> {
    const final = this.#finals[file]!
    const from = (path: string, flags: number) =>
      this.#fileHandles.use(path, flags, (handle) => handle.read(target, 0, target.length, offset))
    const read = this.#sealed[file]
      ? from(final, constants.O_RDONLY)
      : from(this.#partialOf(file), constants.O_RDWR).catch((error: unknown) => {
          // Sealed while we looked.
          if (errnoOf(error) === 'ENOENT') return from(final, constants.O_RDONLY)
          throw error
        })
    const { bytesRead } = await read
    if (bytesRead !== target.length) {
      throw new BundleError('GLEANER_BUNDLE_DAMAGED', `${final} is shorter than it was`)
    }
  }

  async add(piece: number, bytes: Buffer): Promise<boolean> {
    if (!isPiece(bytes, this.layout.place(piece))) return false
    if (has(this.held, piece)) return true
    // The same piece may come from two sources at once.
    const writing = this.#adding.get(piece) ?? this.#write(piece, bytes)
    this.#adding.set(piece, writing)
    try {
      await writing
    } catch (error) {
      explainDisk(error, this.#storePaths.partials(this.#bundle))
    } finally {
      this.#adding.delete(piece)
    }
    return true
  }

  async #write(piece: number, bytes: Buffer): Promise<void> {
    const { file, offset } = this.layout.place(piece)
    // Made only once: should another process have moved or removed it, a new one would have holes.
    const flags = this.#created.has(file) ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT
    this.#created.add(file)
    await this.#fileHandles.use(this.#partialOf(file), flags, async (handle) => {
      for (let done = 0; done < bytes.length;)
        done += (await handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
    })
    this.#unwritten[file]!--
    if (this.#unwritten[file] === 0) await this.#seal(file)
    this.#note(piece)
  }

  watch(listener: (piece: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #partialOf(file: number): string {
    return path.join(this.#storePaths.partials(this.#bundle), String(file))
  }

  async #seal(file: number): Promise<void> {
    this.#fileHandles.drop(this.#partialOf(file))
    await sealFile(this.#partialOf(file), this.#finals[file]!, this.#files[file]!.executable)
    this.#sealed[file] = true
  }

  #note(piece: number): void {
    add(this.held, piece)
    this.heldPieces++
    this.heldBytes += this.layout.place(piece).length
    for (const listener of this.#listeners) listener(piece)
  }
}

/** Gives a file whose every piece was checked its final mode, time and place. */
export async function sealFile(partial: string, final: string, executable: boolean): Promise<void> {
  await chmod(partial, executable ? 0o555 : 0o444)
  await utimes(partial, CHECKED_MTIME, CHECKED_MTIME)
  await mkdir(path.dirname(final), { recursive: true })
  await rename(partial, final)
}

function isPiece(bytes: Buffer, expected: { length: number; sha256: string }): boolean {
  return bytes.length === expected.length && sha256(bytes) === expected.sha256
}

function notHeld(bundle: string, piece: number): BundleError {
  return new BundleError(
    'GLEANER_BUNDLE_NOT_FOUND',
    `piece ${piece} of bundle ${bundle.slice(0, 12)} is not here`,
  )
}
