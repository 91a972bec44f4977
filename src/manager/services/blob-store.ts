import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import { blobFile, BlobMismatch, listBlobs, writeBlob } from '../../blobs/blob-folder.ts'
import { errnoOf } from '../../bundle/format/errors.ts'
import type { BlobRef } from '../../protocol/blob.ts'
import { RequestError, conflict, invalid, notFound } from '../http/api-errors.ts'
import { isBlobReferenced, jobsWithBlobs, dropBlobReferences } from '../ledger/blob-references.ts'
import type { Ledger } from '../ledger/ledger.ts'

/** How long a blob stays after it was put or asked for, though no job refers to it, milliseconds. */
const GRACE_MS = 10 * 60_000

export interface BlobStoreOptions {
  ledger: Ledger
  folder: string
  /** Most bytes they may take together. */
  maxBytes: number
  now: () => number
  log: Logger
}

interface Kept {
  bytes: number
  touchedAt: number
}

/**
 * Large parts of arguments and results, on their way between clients and workers. The folder says what is there, the ledger
 * what is needed.
 */
export class BlobStore {
  readonly #options: BlobStoreOptions
  readonly #kept: Map<string, Kept>
  /** Bytes of those that are there or on their way in. */
  #bytes: number

  private constructor(options: BlobStoreOptions, found: BlobRef[]) {
    this.#options = options
    this.#kept = new Map(found.map(({ sha256, bytes }) => [sha256, { bytes, touchedAt: options.now() }]))
    this.#bytes = found.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  static async open(options: BlobStoreOptions): Promise<BlobStore> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 })
    return new BlobStore(options, await listBlobs(options.folder))
  }

  get folder(): string {
    return this.#options.folder
  }

  /** What they take in all. */
  get bytes(): number {
    return this.#bytes
  }

  #touch(sha256: string): Kept | undefined {
    const kept = this.#kept.get(sha256)
    if (kept) kept.touchedAt = this.#options.now()
    return kept
  }

  /** Those that are not here. The others stay for a while. */
  wanted(blobs: readonly BlobRef[]): string[] {
    return blobs.filter(({ sha256 }) => !this.#touch(sha256)).map(({ sha256 }) => sha256)
  }

  /** @throws {RequestError} 409 unless all are here */
  assertAll(blobs: readonly BlobRef[], whose: string): void {
    const [missing] = this.wanted(blobs)
    if (missing !== undefined) {
      throw conflict(
        `${whose} refers to blob ${missing}, which is not here: put it first, then send this again`,
      )
    }
  }

  /**
   * Takes in a blob; it is on disk when this resolves.
   * @throws {RequestError} 400 if the bytes are others, 507 if there is no room for them
   */
  async put(ref: BlobRef, source: AsyncIterable<Uint8Array>): Promise<void> {
    const { folder, log } = this.#options
    // If it is here already, it must not go while it comes again.
    this.#touch(ref.sha256)
    this.#assertRoom(ref.bytes)
    // What was only promised takes no room from others.
    let came = 0
    const count = async function* (this: BlobStore) {
      for await (const chunk of source) {
        this.#assertRoom(chunk.byteLength)
        came += chunk.byteLength
        this.#bytes += chunk.byteLength
        yield chunk
      }
    }
    try {
      await writeBlob(folder, ref, count.call(this), { durable: true })
      if (this.#touch(ref.sha256)) this.#bytes -= came
      else this.#kept.set(ref.sha256, { bytes: ref.bytes, touchedAt: this.#options.now() })
    } catch (error) {
      this.#bytes -= came
      if (error instanceof BlobMismatch) throw invalid(error.message)
      if (isCutOff(error)) throw invalid('the connection ended before the blob did')
      if (!isDiskFull(error)) throw error
      log.error({ err: error }, 'there is no room for a blob')
      throw new RequestError(
        507,
        'GLEANER_NO_SPACE',
        `${folder}: the disk is full: free some space on the manager's machine`,
      )
    }
  }

  /** @throws {RequestError} 507 */
  #assertRoom(bytes: number): void {
    const { maxBytes } = this.#options
    if (this.#bytes + bytes <= maxBytes) return
    const much = `large arguments and results take ${mib(this.#bytes)} MiB, and may take ${mib(maxBytes)}`
    throw new RequestError(
      507,
      'GLEANER_NO_SPACE',
      `${much}: close or cancel jobs that are done with, or raise manager.blobs in factory.yaml`,
    )
  }

  /** @throws {RequestError} 404 */
  async read(sha256: string): Promise<{ bytes: number; stream: Readable }> {
    const kept = this.#touch(sha256)
    const file = kept && (await this.#openWhole(sha256, kept))
    if (!file) {
      throw notFound(
        `blob ${sha256} is not here (any more): large values go some time after their job has ended, or was last looked at`,
      )
    }
    return { bytes: kept.bytes, stream: file.createReadStream() }
  }

  /** One that was removed or cut short is forgotten, so that it is asked for again. */
  async #openWhole(sha256: string, kept: Kept): Promise<FileHandle | undefined> {
    const path = blobFile(this.#options.folder, sha256)
    const file = await open(path).catch((error: unknown) => {
      if (!isOneOf(error, 'ENOENT')) throw error
    })
    if (file && (await file.stat()).size === kept.bytes) return file
    await file?.close()
    this.#options.log.error({ path }, 'a blob was removed or cut short by something else')
    if (this.#kept.delete(sha256)) this.#bytes -= kept.bytes
    return undefined
  }

  /**
   * Removes what is no longer needed.
   * @param isPast whether the blobs of a job are not needed any more
   */
  async sweep(isPast: (job: number) => boolean): Promise<void> {
    const { ledger, folder, now } = this.#options
    for (const job of jobsWithBlobs(ledger))
      if (isPast(job)) await ledger.commits.write(() => dropBlobReferences(ledger, job))
    for (const [sha256, { bytes, touchedAt }] of this.#kept) {
      if (now() - touchedAt < GRACE_MS || isBlobReferenced(ledger, sha256)) continue
      // Forgotten before it is removed, so that no client is told in between that it is here.
      this.#kept.delete(sha256)
      await rm(blobFile(folder, sha256), { force: true })
      this.#bytes -= bytes
    }
  }
}

const isOneOf = (error: unknown, ...codes: string[]) => codes.includes(errnoOf(error) ?? '')
const isDiskFull = (error: unknown) => isOneOf(error, 'ENOSPC', 'EDQUOT')
const isCutOff = (error: unknown) => isOneOf(error, 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE')

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}
