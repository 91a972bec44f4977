import Fastify, { LogController } from 'fastify'
import type { Logger } from 'pino'
import { refuseUrl } from '../../common/refuse-url.ts'

/** Time for the head of a request and for all of it, milliseconds: who is slower is cut off. It runs while this process waits for a processor. */
const HEAD_MS = 30_000
const REQUEST_MS = 60_000
const CHECK_MS = 1_000

/** A server for pieces outside of the manager, with its limits and without routes: a pilot's, or a relay's. */
export function makePieceServer(log: Logger) {
  return Fastify({
    loggerInstance: log.child({}, { level: 'warn' }),
    logController: new LogController({ disableRequestLogging: true }),
    frameworkErrors: refuseUrl,
    forceCloseConnections: true,
    requestTimeout: REQUEST_MS,
    http: { headersTimeout: HEAD_MS, connectionsCheckingInterval: CHECK_MS },
  })
}
