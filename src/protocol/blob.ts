import { z } from 'zod'
import { limits, Sha256 } from './primitives.ts'

/**
 * A blob: bytes that are a large part of a task's arguments or result. They travel beside the queue, named by their content,
 * so that what many tasks use goes to the manager once and to a worker once; the receiver checks them.
 */
export const BlobRef = z.object({ sha256: Sha256, bytes: z.int().positive().max(limits.blob) })
export type BlobRef = z.infer<typeof BlobRef>

/** The blobs of one task's arguments or result, each once. */
export const BlobRefs = z.array(BlobRef).max(limits.blobs)

/**
 * `POST /v1/blobs`: which of these must be put; the others stay for some minutes at least. A body that is put is binary, and
 * answered once it is whole, checked and on disk; putting it again is safe; 507 says that there is no room. What no job refers to
 * some minutes after it came is removed, and so are the blobs of a job some time after it has ended (see `JobOptions.keepMs`).
 */
export const WantedBlobsRequest = z.object({ blobs: BlobRefs })
export type WantedBlobsRequest = z.infer<typeof WantedBlobsRequest>

export const WantedBlobsResponse = z.object({ wanted: z.array(Sha256).max(limits.blobs) })
export type WantedBlobsResponse = z.infer<typeof WantedBlobsResponse>
