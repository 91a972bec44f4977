import type { Demand, PilotRecord, PilotRegistry } from '../../../src/factory/registry.ts'

export type MemoryRegistry = PilotRegistry & {
  records: Map<string, PilotRecord>
  endings: { pilot: string; reason: string }[]
  drained: string[]
  /** Changes what there is to do. */
  setDemand(demand: Partial<Demand>): void
  /** Whose token this is, if it is still good. */
  byToken(token: string): PilotRecord | undefined
  /** The most pilots a site has had at once. */
  most: number
}

/** What the manager provides, in memory: the factory's tests need no manager. */
export function memoryRegistry(factoryId = 'test'): MemoryRegistry {
  const tokens = new Map<string, string>()
  const sites = new Map<string, string>()
  let demand: Demand = { queued: 0, leased: 0, ratePerPilot: 0 }
  let last = 0

  const registry: MemoryRegistry = {
    factoryId,
    records: new Map(),
    endings: [],
    drained: [],
    most: 0,
    create(site, count) {
      const created = Array.from({ length: count }, () => {
        const pilot = `p${++last}`
        const token = `secret-${pilot}-${'x'.repeat(32)}`
        tokens.set(token, pilot)
        sites.set(pilot, site)
        registry.records.set(pilot, { pilot, createdAt: Date.now() })
        return { pilot, token }
      })
      registry.most = Math.max(registry.most, registry.list(site).length)
      return created
    },
    submitted(pilots) {
      for (const { pilot, jobId } of pilots)
        Object.assign(registry.records.get(pilot)!, { jobId, submittedAt: Date.now() })
    },
    list: (site) => [...registry.records.values()].filter(({ pilot }) => sites.get(pilot) === site),
    ended(pilots) {
      registry.endings.push(...pilots)
      for (const { pilot } of pilots) registry.records.delete(pilot)
    },
    demand: () => demand,
    drain: (pilot) => void registry.drained.push(pilot),
    setDemand: (change) => void (demand = { ...demand, ...change }),
    byToken: (token) => registry.records.get(tokens.get(token) ?? ''),
  }
  return registry
}
