import type { Logger } from 'pino'
import type { Catalog } from './catalog.ts'
import type { Claims } from './claims.ts'
import type { Owner } from './owner.ts'
import type { Places } from './places.ts'

/** What a store is put together from. */
export type StoreParts = {
  places: Places
  owner: Owner
  claims: Claims
  catalog: Catalog
  /** A folder on the store's filesystem for things in the making; gone with the process. */
  temporary: string
  log: Logger
}
