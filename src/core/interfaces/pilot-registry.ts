import type { SiteOrder } from '../../protocol/status.ts'

/** A pilot as the ledger has it, from its creation until it has ended. Times are milliseconds since 1970. */
export type PilotRecord = {
  pilot: string
  /** The batch system's name for it, e.g. `1234.0` or `1234_5`. Absent until its submission was recorded. */
  jobId?: string
  createdAt: number
  submittedAt?: number
  /** When a worker first registered with its token. */
  registeredAt?: number
  /** The worker it runs now; absent once that has left or was given up. */
  worker?: {
    id: string
    node: string
    state: 'active' | 'suspect' | 'draining'
    /** Tasks in its hands. */
    leased: number
    /** Since when it has had nothing to do. */
    idleSince?: number
    tasksDone: number
    tasksFailed: number
  }
  /** Where it runs none: how it parted from the last one, which said goodbye or fell silent, and when. */
  parted?: { how: 'left' | 'lost'; at: number }
  /** The node on which its worker only failed tasks that others do. */
  blackHole?: string
}

/** What there is to do, and how fast one pilot does it. */
export type Demand = {
  /** Tasks that no worker has yet. */
  queued: number
  /** Tasks in workers' hands. */
  leased: number
  /** Tasks per second that one pilot finishes, measured; 0 if unknown. */
  ratePerPilot: number
}

/**
 * What the factory needs of the manager: a durable account of pilots, and the demand for them. The batch system stays
 * authoritative for what is in its queue; the registry is for what a pilot did, and for its secret.
 */
export interface PilotRegistry {
  /** This factory's identity, stable over restarts; every job carries it. Letters, digits and `-`. */
  readonly factoryId: string
  /** Records pilots before they are submitted and returns their ids (`p17`) and one-time tokens. Durable on return. */
  create(site: string, count: number): { pilot: string; token: string }[]
  /** Notes which batch job runs each pilot. */
  submitted(pilots: { pilot: string; jobId: string }[]): void
  /** The site's pilots that have not ended. */
  list(site: string): PilotRecord[]
  /** Pilots whose jobs are gone. Their tokens are void from now on. */
  ended(pilots: { pilot: string; reason: string }[]): void
  demand(): Demand
  /** Asks a pilot's worker to take no more work, finish what it has, and leave. */
  drain(pilot: string): void
  /** What a user has told a site; `work` unless told otherwise. */
  order(site: string): SiteOrder
  /** Durable on return. */
  setOrder(site: string, order: SiteOrder): void
}
