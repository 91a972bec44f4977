import type { SiteExplanation } from '../../protocol/explanation.ts'
import type { ReloadResponse } from '../../protocol/client.ts'
import type { PilotStatus, SiteOrder, SiteStatus } from '../../protocol/status.ts'

/** What the manager needs of the factory, which runs the sites. */
export interface FactorySites {
  status(): SiteStatus[]
  /** The pilots of all sites that have not ended. */
  pilots(): PilotStatus[]
  /** Has a site keep to an order of a user's, or work as its policy says again; undefined if there is no such site. */
  order(site: string, order: SiteOrder): SiteStatus | undefined
  /** Why a site has the pilots it has, and no more; undefined if there is no such site. */
  explain(site: string): SiteExplanation | undefined
  /** Reads the configuration again and goes by it. Rejects with what is wrong with it, and goes on by the old one. */
  reload?(): Promise<ReloadResponse>
  /** What a user should know of the configuration on disk, if it is not the one in force. */
  notice?(): string | undefined
}
