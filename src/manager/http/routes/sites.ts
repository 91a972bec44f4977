import { type Explanations, noSite } from '../../services/explanations.ts'
import type { StatusBoard } from '../../services/status-board.ts'
import { conflict, invalid } from '../api-errors.ts'
import type { ManagerHandlers } from './handlers.ts'

export interface SiteRoutes {
  explanations: Explanations
  board: StatusBoard
}

/** Orders to sites, and why sites and jobs stand as they do. */
export function siteHandlers({ explanations, board }: SiteRoutes) {
  return {
    explainJob: ({ params, query }) => explanations.job(params.job, query.key),
    pilots: () => board.pilots(),
    explainSite: ({ params }) => explanations.site(params.site),
    reload() {
      if (!board.sites.reload) throw conflict('this manager has no configuration to read again')
      return board.sites.reload().catch((error: Error) => {
        throw invalid(`${error.message}; the factory goes on by the configuration that it has`)
      })
    },
    orderSite({ params: { site, order } }) {
      const status = board.sites.order(site, order)
      if (!status) throw noSite(site)
      return status
    },
  } satisfies Partial<ManagerHandlers>
}
