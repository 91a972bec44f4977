import { createReadStream } from 'node:fs'
import { access, mkdir, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { blobFile, BlobMismatch, writeBlob } from '../../blobs/blob-folder.ts'
import type { BlobRef } from '../../protocol/blob.ts'

/** The large parts of arguments and results that are on this worker, each once, however many use them. */
export interface BlobCache {
  /** Where they are; libraries leave those of their results here too. */
  readonly folder: string
  /** Has these here until they are let go. @throws what came of fetching one */
  bring(blobs: readonly BlobRef[]): Promise<void>
  letGo(blobs: readonly BlobRef[]): void
  /** Gives the manager blobs that a library has left here. @throws what came of that */
  send(blobs: readonly BlobRef[]): Promise<void>
}

export interface BlobCacheOptions {
  folder: string
  /** Room for those that are not in use at the moment, bytes; those in use may take more. */
  maxBytes: number
  /** Gets one from the manager: hands its bytes to `take`, again and again if need be, until that resolves. */
  get: (sha256: string, take: (bytes: Readable) => Promise<void>) => Promise<void>
  /** Gives one to the manager, which `open` reads, each time from its start. */
  put: (ref: BlobRef, open: () => Readable) => Promise<void>
}

interface Kept {
  bytes: number
  users: number
  /** Resolves when it is here. */
  here: Promise<void>
}

/** A large part of an argument or result could not be brought, or not be sent. */
export class BlobError extends Error {
  override readonly name = 'BlobError'
}

/** How often bytes that are not the blob are tried again. */
const TRIES = 3

export function createBlobCache({ folder, maxBytes, get, put }: BlobCacheOptions): BlobCache {
  /** Those used last are at the end. */
  const kept = new Map<string, Kept>()
  /** Files on their way out. */
  const going = new Map<string, Promise<void>>()
  let bytes = 0

  function use(ref: BlobRef, come: (ref: BlobRef) => Promise<void>): Promise<void> {
    const { sha256 } = ref
    const gone = going.get(sha256) ?? Promise.resolve()
    const known = kept.get(sha256) ?? { bytes: ref.bytes, users: 0, here: gone.then(() => come(ref)) }
    if (!kept.delete(sha256)) bytes += ref.bytes
    kept.set(sha256, known)
    known.users++
    return known.here
  }

  function letGo(blobs: readonly BlobRef[]): void {
    for (const { sha256 } of blobs) {
      const known = kept.get(sha256)
      if (known) known.users--
    }
    for (const [sha256, { users, bytes: its }] of kept) {
      if (bytes <= maxBytes) return
      if (users === 0) forget(sha256, its)
    }
  }

  function forget(sha256: string, its: number): void {
    kept.delete(sha256)
    bytes -= its
    const gone = rm(blobFile(folder, sha256), { force: true }).catch(() => {})
    going.set(sha256, gone)
    void gone.then(() => going.get(sha256) === gone && going.delete(sha256))
  }

  async function fetch(ref: BlobRef): Promise<void> {
    await mkdir(folder, { recursive: true })
    for (let attempt = 1; ; attempt++) {
      try {
        return await get(ref.sha256, (source) => writeBlob(folder, ref, source))
      } catch (error) {
        if (!(error instanceof BlobMismatch) || attempt === TRIES) throw explain('an argument', error)
      }
    }
  }

  /** Has what a library left here; what it found here, and was let go of since, the manager has. */
  async function find(ref: BlobRef): Promise<void> {
    await access(blobFile(folder, ref.sha256)).catch((missing: unknown) =>
      fetch(ref).catch(() => {
        throw explain('a result', missing)
      }),
    )
  }

  /** Has these in use; one that does not come is tried again by the next who wants it. */
  async function hold(blobs: readonly BlobRef[], come: (ref: BlobRef) => Promise<void>): Promise<void> {
    const coming = blobs.map((ref) => use(ref, come))
    const ends = await Promise.allSettled(coming)
    const failed = ends.find((end) => end.status === 'rejected')
    if (!failed) return
    letGo(blobs)
    for (const [i, end] of ends.entries()) {
      const { sha256, bytes: its } = blobs[i]!
      if (end.status === 'rejected' && kept.get(sha256)?.here === coming[i]) forget(sha256, its)
    }
    throw failed.reason
  }

  return {
    folder,
    bring: (blobs) => hold(blobs, fetch),
    letGo,
    async send(blobs) {
      await hold(blobs, find)
      try {
        for (const ref of blobs) await put(ref, () => createReadStream(blobFile(folder, ref.sha256)))
      } catch (error) {
        throw explain('a result', error)
      } finally {
        letGo(blobs)
      }
    },
  }
}

function explain(what: string, error: unknown): BlobError {
  return new BlobError(`${what} too large for the queue cannot travel: ${(error as Error).message}`, {
    cause: error,
  })
}
