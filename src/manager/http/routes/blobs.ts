import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { limits, Sha256 } from '../../../protocol/primitives.ts'
import type { BlobStore } from '../../services/blob-store.ts'
import { RequestError } from '../api-errors.ts'
import { parse } from '../server.ts'

const BlobParams = z.object({ sha256: Sha256 })
const BINARY = 'application/octet-stream'

export interface BlobRoutes {
  blobs: BlobStore
  /** Below what they are. */
  path: string
  /** Who may; asked before the body is read. */
  authorise: onRequestHookHandler
}

/** The bytes of blobs, in and out. In a scope of their own: nothing else takes bodies that are not JSON. */
export function blobRoutes(scope: FastifyInstance, { blobs, path, authorise }: BlobRoutes): void {
  scope.addHook('onRequest', authorise)
  scope.addContentTypeParser(BINARY, (_request, payload, done) => done(null, payload))

  scope.put(`${path}/:sha256`, async (request: FastifyRequest) => {
    const { sha256 } = parse(BlobParams, request.params)
    await blobs.put({ sha256, bytes: lengthOf(request) }, request.body as Readable)
    return {}
  })

  scope.get(`${path}/:sha256`, async ({ params }, reply) => {
    const { bytes, stream } = await blobs.read(parse(BlobParams, params).sha256)
    return reply.type(BINARY).header('content-length', bytes).send(stream)
  })
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
