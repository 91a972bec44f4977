import type { Logger } from 'pino'
import type { Catalog } from './catalog.ts'
import type { Claims } from './claims.ts'
import type { StoreOwner } from './store-owner.ts'
import type { StorePaths } from './store-paths.ts'

/** What a store is put together from. */
export type StoreParts = {
  storePaths: StorePaths
  owner: StoreOwner
  claims: Claims
  catalog: Catalog
  /** A folder on the store's filesystem for things in the making; gone with the process. */
  temporary: string
  log: Logger
}
