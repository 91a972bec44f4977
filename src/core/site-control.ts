import type { SiteExplanation } from '../protocol/explanation.ts'
import type { SiteOrder, SiteStatus } from '../protocol/client.ts'

/** What the manager needs of the factory, which runs the sites. */
export interface SiteControl {
  status(): SiteStatus[]
  /** Has a site keep to an order of a user's, or work as its policy says again; undefined if there is no such site. */
  order(site: string, order: SiteOrder): SiteStatus | undefined
  /** Why a site has the pilots it has, and no more; undefined if there is no such site. */
  explain(site: string): SiteExplanation | undefined
}
