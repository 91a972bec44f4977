import { randomUUID } from 'node:crypto'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { refuseUrl } from '../../common/refuse-url.ts'
import { type ApiErrorBody, explain, limits } from '../../protocol/primitives.ts'
import { LargeBodies, readBody } from './request-bodies.ts'
import { RequestError, invalid, notFound } from './api-errors.ts'

/** A private key and its certificate, PEM. */
export interface Certificate {
  key: string
  cert: string
}

/** Workers keep one connection open for as long as they live: its end is news. */
const KEEP_ALIVE_MS = 600_000
/**
 * Time for the head of a request, for all of it, and for a TLS handshake, milliseconds: who is slower is cut off. It runs while this
 * process waits for a processor, too.
 */
const HEAD_MS = 30_000
const REQUEST_MS = 120_000
const HANDSHAKE_MS = 30_000
/** How often connections are checked for that, milliseconds. */
const CHECK_MS = 1_000

/** An HTTP server with the limits and the error format of every answer, and no routes yet. */
export function createServer(log: Logger, tls?: Certificate): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = log
  const checks = { headersTimeout: HEAD_MS, connectionsCheckingInterval: CHECK_MS }
  const server = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.body,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_MS,
    frameworkErrors: refuseUrl,
    genReqId: () => `req_${randomUUID()}`,
    forceCloseConnections: true,
    ...(tls
      ? { https: { ...checks, ...tls, minVersion: 'TLSv1.2' as const, handshakeTimeout: HANDSHAKE_MS } }
      : { http: checks }),
  })
  server.removeAllContentTypeParsers()
  const large = new LargeBodies()
  server.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      try {
        // Clients in Python call a request's body JSON also where there is none.
        return body.length === 0 ? undefined : await readBody(body, request.routeOptions.config.keep)
      } finally {
        large.end(request)
      }
    },
  )
  server.addHook('preParsing', async (request, reply) => {
    // Bytes of blobs go to the disk as they come.
    if (request.headers['content-type'] !== 'application/octet-stream') await large.begin(request, reply)
  })
  server.setErrorHandler((error: FastifyError | RequestError, request, reply) => {
    const { status, body } = describe(error)
    if (status >= 500) request.log.error({ err: error }, 'request failed')
    return reply.status(status).send(body)
  })
  server.addHook('onRequest', (request, _reply, done) => {
    if (request.is404) throw notFound('there is nothing here')
    done()
  })
  // Who is answered before the end of the request was turned away: what else comes is not read, nor waited for. A stranger's
  // connection is not kept either.
  server.addHook('onSend', ({ raw, is404 }, reply, _payload, done) => {
    if (!raw.complete || is404 || [401, 403].includes(reply.statusCode)) reply.header('connection', 'close')
    done()
  })
  return server
}

function describe(error: FastifyError | RequestError): { status: number; body: ApiErrorBody } {
  if (error instanceof RequestError) {
    return { status: error.status, body: { error: { code: error.code, message: error.message } } }
  }
  if (error.name === 'LedgerWriteError') {
    return { status: 507, body: { error: { code: 'GLEANER_LEDGER_WRITE', message: error.message } } }
  }
  const status = error.statusCode ?? 500
  if (status < 500) return { status, body: { error: { code: 'GLEANER_INVALID', message: error.message } } }
  return {
    status,
    body: { error: { code: 'GLEANER_INTERNAL', message: 'the manager failed; its log says more' } },
  }
}

/** What came in, as its schema says. @throws {RequestError} 400 that names the offending key */
export function parse<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw invalid(explain(parsed.error))
  return parsed.data
}
