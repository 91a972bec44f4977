import type { FastifyInstance, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import { SiteOrder } from '../../../protocol/status.ts'
import { Digits, limits, Name } from '../../../protocol/primitives.ts'
import { type Explanations, noSite } from '../../services/explanations.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import { conflict, invalid } from '../api-errors.ts'
import { parse } from '../server.ts'

const SiteParams = z.object({ site: Name })
const OrderParams = SiteParams.extend({ order: SiteOrder })
const JobParams = z.object({ job: Digits })
const KeyQuery = z.object({ key: z.string().min(1).max(limits.key).optional() })

export interface SiteRoutes {
  explanations: Explanations
  board: StatusBoard
  authorise: onRequestHookHandler
}

/** Orders to sites, and why sites and jobs stand as they do. */
export function siteRoutes(server: FastifyInstance, { explanations, board, authorise }: SiteRoutes): void {
  server.addHook('onRequest', authorise)

  server.get('/v1/jobs/:job/explanation', ({ params, query }) =>
    explanations.job(parse(JobParams, params).job, parse(KeyQuery, query).key),
  )
  server.get('/v1/pilots', () => board.pilots())
  server.get('/v1/sites/:site/explanation', ({ params }) => explanations.site(parse(SiteParams, params).site))
  server.post('/v1/reload', { bodyLimit: limits.smallBody }, async () => {
    if (!board.sites.reload) throw conflict('this manager has no configuration to read again')
    return board.sites.reload().catch((error: Error) => {
      throw invalid(`${error.message}; the factory goes on by the configuration that it has`)
    })
  })

  server.post('/v1/sites/:site/:order', { bodyLimit: limits.smallBody }, ({ params }) => {
    const { site, order } = parse(OrderParams, params)
    const status = board.sites.order(site, order)
    if (!status) throw noSite(site)
    return status
  })
}
