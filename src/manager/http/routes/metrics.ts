import type { Metrics } from '../../services/metrics/metrics.ts'
import type { ManagerHandlers } from './handlers.ts'

/** What a Prometheus scrapes. */
export function metricHandlers(metrics: Metrics) {
  return {
    metrics: async ({ reply }) => reply.type(metrics.contentType).send(await metrics.text()),
  } satisfies Partial<ManagerHandlers>
}
