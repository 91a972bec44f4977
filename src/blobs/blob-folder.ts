import { createHash, hash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlobRef } from '../protocol/blob.ts'

/*
 * A folder of blobs: one file each, named by the SHA-256 of what is in it. A file gets that name only when it is whole, so
 * a process that is killed while writing leaves nothing that looks like a blob. Used by the manager, by workers and, in a process
 * with one call at a time, by libraries.
 */

/** Bytes are not those that their name promises. */
export class BlobMismatch extends Error {
  override name = 'BlobMismatch'
}

/** What is not a blob yet, or will never be. */
const UNFINISHED = '.new'

export const blobFile = (folder: string, sha256: string): string => join(folder, sha256)

/** The name and size of bytes. */
export function refOf(bytes: Uint8Array): BlobRef {
  return { sha256: hash('sha256', bytes), bytes: bytes.byteLength }
}

/** @throws {BlobMismatch} */
export function assertBlob(bytes: Uint8Array, ref: BlobRef): void {
  if (bytes.byteLength !== ref.bytes || hash('sha256', bytes) !== ref.sha256) throw mismatch(ref)
}

function mismatch({ sha256, bytes }: BlobRef): BlobMismatch {
  return new BlobMismatch(
    `what came is not blob ${sha256} of ${bytes} bytes: it was cut off or changed on the way`,
  )
}

/** Bytes are written in portions of this size: a chunk of a stream is not worth a turn of the disk. */
const PORTION = 1 << 20

/**
 * Takes in a blob.
 *
 * @param durable it survives a loss of power once this resolves
 * @throws {BlobMismatch} if the stream is not the blob; what the disk says
 */
export async function writeBlob(
  folder: string,
  ref: BlobRef,
  source: AsyncIterable<Uint8Array>,
  { durable = false } = {},
): Promise<void> {
  const draft = `${blobFile(folder, ref.sha256)}.${randomUUID()}${UNFINISHED}`
  const sum = createHash('sha256')
  let bytes = 0
  let portion: Uint8Array[] = []
  let size = 0
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      for await (const chunk of source) {
        bytes += chunk.byteLength
        if (bytes > ref.bytes) throw mismatch(ref)
        sum.update(chunk)
        portion.push(chunk)
        size += chunk.byteLength
        if (size < PORTION) continue
        await file.appendFile(Buffer.concat(portion))
        portion = []
        size = 0
      }
      await file.appendFile(Buffer.concat(portion))
      if (bytes !== ref.bytes || sum.digest('hex') !== ref.sha256) throw mismatch(ref)
      if (durable) await file.datasync()
    } finally {
      await file.close()
    }
    await rename(draft, blobFile(folder, ref.sha256))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** Writes a blob of which this process has the bytes, unless it is there. Nothing waits for the disk. */
export function writeBlobSync(folder: string, ref: BlobRef, bytes: Uint8Array): void {
  const path = blobFile(folder, ref.sha256)
  if (existsSync(path)) return
  mkdirSync(folder, { recursive: true })
  const draft = `${path}.${randomUUID()}${UNFINISHED}`
  try {
    writeFileSync(draft, bytes, { flag: 'wx', mode: 0o600 })
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/** @throws {BlobMismatch} if the file was changed; ENOENT */
export function readBlobSync(folder: string, ref: BlobRef): Buffer {
  const bytes = readFileSync(blobFile(folder, ref.sha256))
  assertBlob(bytes, ref)
  return bytes
}

/** The blobs of a folder; removes what was left unfinished by a process that is gone. No other process may be writing. */
export async function listBlobs(folder: string): Promise<BlobRef[]> {
  const found: BlobRef[] = []
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    if (/^[0-9a-f]{64}$/.test(name)) found.push({ sha256: name, bytes: (await stat(path)).size })
    else if (name.endsWith(UNFINISHED)) await rm(path, { force: true })
  }
  return found
}
