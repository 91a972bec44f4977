import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../../services/metrics/metrics.ts'
import { bearer, matches } from '../../services/tokens.ts'
import { unauthorised } from '../api-errors.ts'

export interface MetricRoutes {
  metrics: Metrics
  /** Hashes of the user's token, and of one that opens nothing else. */
  tokens: Uint8Array[]
}

/** What a Prometheus scrapes. */
export function metricRoutes(server: FastifyInstance, { metrics, tokens }: MetricRoutes): void {
  server.addHook('onRequest', (request, _reply, done) => {
    const token = bearer(request.headers.authorization)
    if (token === undefined || !tokens.some((hash) => matches(token, hash))) throw unauthorised()
    done()
  })
  server.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  )
}
