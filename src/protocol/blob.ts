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

/*
 * The routes of blobs, for users:
 *
 * POST /v1/blobs           which of these must be put; the others stay for some minutes at least
 * PUT  /v1/blobs/:sha256   the body is binary; answered once it is whole, checked and on disk. Safe to repeat. 507: no room
 * GET  /v1/blobs/:sha256
 *
 * and the last two below /v1/workers/:id for a worker. What no job refers to some minutes after it came is removed, and so
 * are the blobs of a job some time after it has ended (see `JobOptions.keepMs`).
 */

/** `POST /v1/blobs` */
export const WantedBlobsRequest = z.object({ blobs: BlobRefs })
export type WantedBlobsRequest = z.infer<typeof WantedBlobsRequest>

export const WantedBlobsResponse = z.object({ wanted: z.array(Sha256).max(limits.blobs) })
export type WantedBlobsResponse = z.infer<typeof WantedBlobsResponse>
