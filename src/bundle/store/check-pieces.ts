import { hash } from 'node:crypto'
import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { ManifestFile } from '../../protocol/bundle.ts'
import { errnoOf } from '../format/errors.ts'

/**
 * Modification time of every file that was checked in full, seconds since 1970. One that has another was changed since.
 */
export const CHECKED_MTIME = 1_000_000_000

/** How much of a piece's ends is looked at to tell a hole of a sparse file from data, bytes. */
const PROBE = 4096

/** Numbers, within the file, of the pieces that are as the manifest says. None if there is no such file. */
export async function goodPieces(path: string, file: ManifestFile, signal?: AbortSignal): Promise<number[]> {
  const { pieceSize } = file
  let handle: FileHandle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
  try {
    const { size, blocks } = await handle.stat()
    const sparse = blocks * 512 < size
    const buffer = Buffer.allocUnsafe(Math.min(pieceSize, file.size))
    const good: number[] = []
    for (const [index, expected] of file.pieces.entries()) {
      signal?.throwIfAborted()
      const offset = index * pieceSize
      const length = Math.min(pieceSize, file.size - offset)
      if (sparse && (await isHole(handle, offset, length))) continue
      const { bytesRead } = await handle.read(buffer, 0, length, offset)
      if (bytesRead === length && hash('sha256', buffer.subarray(0, length)) === expected) good.push(index)
    }
    return good
  } finally {
    await handle.close()
  }
}

/** Zeros at both ends: not written yet, or real zeros, which are then fetched again; cheaper than hashing every hole. */
async function isHole(handle: FileHandle, offset: number, length: number): Promise<boolean> {
  for (const at of [offset, Math.max(offset, offset + length - PROBE)]) {
    const probe = Buffer.alloc(Math.min(PROBE, length))
    await handle.read(probe, 0, probe.length, at)
    if (probe.some((byte) => byte !== 0)) return false
  }
  return true
}

/** Whether the file still has the size and the time it was given when it was checked in full. */
export async function looksUntouched(path: string, file: ManifestFile): Promise<boolean> {
  try {
    const found = await stat(path)
    return found.isFile() && found.size === file.size && found.mtimeMs === CHECKED_MTIME * 1000
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false
    throw error
  }
}
