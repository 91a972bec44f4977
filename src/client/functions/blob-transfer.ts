import { setImmediate as nextTurn } from 'node:timers/promises'
import PQueue from 'p-queue'
import { assertBlob } from '../../blobs/blob-folder.ts'
import type { BlobRef } from '../../protocol/blob.ts'
import { limits } from '../../protocol/primitives.ts'
import { userRoutes } from '../../protocol/routes/user-routes.ts'
import { ProtocolError } from '../errors.ts'
import type { CallOptions, HttpClient } from '../http-client.ts'
import type { Part } from './value-codec.ts'

/** The large parts of arguments and results, as a client has to do with them. */
export interface BlobTransfer {
  /** Sees to it that the factory has these. The bytes may change as soon as this returns. */
  put(parts: readonly Part[], options?: CallOptions): Promise<void>
  /** Gets these, checked. @throws ApiError if the factory has one no more */
  get(blobs: readonly BlobRef[], options?: CallOptions): Promise<Map<string, Buffer>>
}

/** What the factory has, it has for this long at least, milliseconds; it promises more. */
const KNOWN_MS = 5 * 60_000
/** Bodies under way at once, each way. */
const AT_ONCE = 4

export function createBlobTransfer(transport: Pick<HttpClient, 'call' | 'put' | 'get'>): BlobTransfer {
  /** Since when the factory has a blob, or is getting it. */
  const known = new Map<string, { since: number; there: Promise<void> }>()
  let fresh: { part: Part; there: PromiseWithResolvers<void> }[] = []
  const uploads = new PQueue({ concurrency: AT_ONCE })
  const downloads = new PQueue({ concurrency: AT_ONCE })

  /** Asks once for all that came up in one turn, and sends what is wanted of it. */
  async function send(): Promise<void> {
    await nextTurn()
    const all = fresh
    fresh = []
    for (let at = 0; at < all.length; at += limits.blobs) {
      const some = all.slice(at, at + limits.blobs)
      try {
        const wanted = await ask(some.map(({ part }) => part.ref))
        for (const { part, there } of some) {
          if (!wanted.has(part.ref.sha256)) there.resolve()
          else void uploads.add(() => upload(part).then(there.resolve, there.reject))
        }
      } catch (error) {
        for (const { there } of some) there.reject(error)
      }
    }
  }

  async function ask(blobs: BlobRef[]): Promise<Set<string>> {
    const { wanted } = await transport.call(userRoutes.wantedBlobs, { body: { blobs } })
    return new Set(wanted)
  }

  const placeOf = ({ sha256 }: BlobRef) => ({ params: { sha256 } })
  const upload = ({ ref, bytes }: Part) => transport.put(userRoutes.putBlob, placeOf(ref), bytes!)

  function putOne({ ref, bytes }: Part): Promise<void> {
    const now = performance.now()
    const last = known.get(ref.sha256)
    if (last && now - last.since < KNOWN_MS) return last.there
    const there = Promise.withResolvers<void>()
    // The caller may go on to change the bytes.
    if (fresh.push({ part: { ref, bytes: Buffer.from(bytes!) }, there }) === 1) void send()
    known.set(ref.sha256, { since: now, there: there.promise })
    // It is tried again for the next who needs it.
    there.promise.catch(() => known.delete(ref.sha256))
    forgetOld(now)
    return there.promise
  }

  function forgetOld(now: number): void {
    for (const [sha256, { since }] of known) {
      if (now - since < KNOWN_MS) return
      known.delete(sha256)
    }
  }

  async function getOne(ref: BlobRef, options?: CallOptions): Promise<Buffer> {
    const bytes = await transport.get(userRoutes.blob, placeOf(ref), options)
    try {
      assertBlob(bytes, ref)
    } catch (error) {
      throw new ProtocolError(`a large result cannot be had: ${(error as Error).message}`, { cause: error })
    }
    return bytes
  }

  return {
    async put(parts, { signal } = {}) {
      await Promise.all(parts.filter(({ bytes }) => bytes).map(putOne))
      signal?.throwIfAborted()
    },
    async get(blobs, options) {
      const entries = blobs.map((ref) =>
        downloads.add(async () => [ref.sha256, await getOne(ref, options)] as const),
      )
      return new Map(await Promise.all(entries))
    },
  }
}
