import type { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { limits } from '../../../protocol/primitives.ts'
import type { BlobStore } from '../../services/blob-store.ts'
import { RequestError } from '../api-errors.ts'
import type { ManagerHandlers } from './handlers.ts'

const BINARY = 'application/octet-stream'

/** The bytes of blobs, in and out, for users and for workers. */
export function blobHandlers(blobs: BlobStore) {
  const put = async (sha256: string, request: FastifyRequest, reply: FastifyReply) => {
    await blobs.put({ sha256, bytes: lengthOf(request) }, request.body as Readable)
    return reply.send({})
  }
  const get = async (sha256: string, reply: FastifyReply) => {
    const { bytes, stream } = await blobs.read(sha256)
    return reply.type(BINARY).header('content-length', bytes).send(stream)
  }
  return {
    blob: ({ params, reply }) => get(params.sha256, reply),
    workerBlob: ({ params, reply }) => get(params.sha256, reply),
    putBlob: ({ params, request, reply }) => put(params.sha256, request, reply),
    putWorkerBlob: ({ params, request, reply }) => put(params.sha256, request, reply),
  } satisfies Partial<ManagerHandlers>
}

/** The size of a body, before it comes. @throws {RequestError} 411, 413 or 415 */
function lengthOf({ headers }: FastifyRequest): number {
  if (headers['content-type'] !== BINARY)
    throw new RequestError(415, 'GLEANER_INVALID', `the body must be ${BINARY}`)
  const bytes = Number(headers['content-length'] ?? 0)
  if (bytes === 0)
    throw new RequestError(411, 'GLEANER_INVALID', 'say the length of the body, which must not be 0')
  if (bytes > limits.blob)
    throw new RequestError(413, 'GLEANER_TOO_LARGE', `a blob has ${limits.blob} bytes at most`)
  return bytes
}
