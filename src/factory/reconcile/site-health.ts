import { type Health, HEALTHY, failed, succeeded } from '../../core/pilot-scaling.ts'
import type { PilotRecord } from '../../core/interfaces/pilot-registry.ts'
import { type PilotExit, SHORTEST_USEFUL_MS } from './pilot-exit.ts'
import { createNodeRecords } from './node-failures.ts'

/** What a site's pilots have taught about it: whether it is well, and which nodes to avoid. */
export type SiteHealth = ReturnType<typeof createSiteHealth>

/** Starts with none. The times that come in are milliseconds since 1970. */
export function createSiteHealth() {
  const nodes = createNodeRecords()
  /** Each pilot's worker when it was last seen: the ledger forgets one that has left. */
  const workers = new Map<string, PilotRecord['worker']>()
  /** Pilots that were asked to leave: that they end says nothing about the site. */
  const asked = new Set<string>()
  let health: Health = HEALTHY

  return {
    get health() {
      return health
    },

    avoidNodes: (now: number) => nodes.avoid(now),

    /** A pilot is there: what its worker does tells of its site and of its node. */
    seen(record: PilotRecord, now: number): void {
      const { pilot, registeredAt, worker } = record
      if (worker) workers.set(pilot, worker)
      nodes.working(record, now)
      if (registeredAt !== undefined && (worker?.tasksDone || now - registeredAt > SHORTEST_USEFUL_MS))
        health = succeeded(health, { registeredAt })
    },

    /** The record, with the pilot's worker as it was last seen if it has none any more. */
    recall(record: PilotRecord): PilotRecord {
      const worker = record.worker ?? workers.get(record.pilot)
      return worker ? { ...record, worker } : record
    },

    askedToLeave(pilot: string): void {
      asked.add(pilot)
    },

    /**
     * A pilot is gone.
     * @param expected nothing follows from it, because all are being removed
     * @returns whether it speaks against the site
     */
    ended(record: PilotRecord, ending: PilotExit, expected: boolean, now: number): boolean {
      const { pilot, registeredAt, submittedAt, createdAt, blackHole } = record
      workers.delete(pilot)
      const wasAsked = asked.delete(pilot)
      if (expected || wasAsked || blackHole !== undefined || !ending.failure) return false
      health = failed(health, { submittedAt: submittedAt ?? createdAt, reason: ending.reason }, now)
      if (ending.node && registeredAt === undefined) nodes.stillborn(ending.node, pilot, now)
      return true
    },

    /** The batch system did not take a submission, or did not say that it has. */
    notSubmitted(reason: string, now: number): void {
      health = failed(health, { submittedAt: now, reason }, now)
    },
  }
}
