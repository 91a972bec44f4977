import Fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  LogController,
} from 'fastify'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { type ApiErrorBody, explain, limits } from '../protocol/common.ts'
import { ApiError, invalid } from './errors.ts'

/** A private key and its certificate, PEM. */
export interface Certificate {
  key: string
  cert: string
}

/** Workers keep one connection open for as long as they live: its end is news. */
const KEEP_ALIVE_MS = 600_000

/** An HTTP server with the limits and the error format of every answer, and no routes yet. */
export function createServer(log: Logger, tls?: Certificate): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = log
  const server = Fastify({
    loggerInstance,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.body,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A request must be here in this time; answers may take as long as a long-poll.
    requestTimeout: 120_000,
    forceCloseConnections: true,
    ...(tls ? { https: { ...tls, minVersion: 'TLSv1.2' as const } } : {}),
  })
  server.setErrorHandler((error: FastifyError | ApiError, request, reply) => {
    const { status, body } = describe(error)
    if (status >= 500) request.log.error({ err: error }, 'request failed')
    return reply.status(status).send(body)
  })
  server.setNotFoundHandler((_request, reply) => {
    const body: ApiErrorBody = { error: { code: 'not-found', message: 'there is nothing here' } }
    return reply.status(404).send(body)
  })
  return server
}

function describe(error: FastifyError | ApiError): { status: number; body: ApiErrorBody } {
  if (error instanceof ApiError) {
    return { status: error.status, body: { error: { code: error.code, message: error.message } } }
  }
  if (error.name === 'LedgerWriteError') {
    return { status: 507, body: { error: { code: 'ledger', message: error.message } } }
  }
  const status = error.statusCode ?? 500
  if (status < 500)
    return { status, body: { error: { code: error.code || 'invalid', message: error.message } } }
  return { status, body: { error: { code: 'internal', message: 'the manager failed; its log says more' } } }
}

/** What came in, as its schema says. @throws {ApiError} 400 that names the offending key */
export function parse<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw invalid(explain(parsed.error))
  return parsed.data
}
