import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { SiteOrder } from '../../../src/protocol/status.ts'
import type { Demand, PilotRecord, PilotRegistry } from '../../../src/core/interfaces/pilot-registry.ts'

export type TestRegistry = PilotRegistry & {
  endings: { pilot: string; reason: string }[]
  drained: string[]
  /** How many pilots were ever made here, and the most a site has had at once. */
  readonly created: number
  readonly most: number
  /** How many pilots were made at once, and how many others were there. */
  creations: { count: number; beside: number }[]
  /** Changes what there is to do. */
  setDemand(demand: Partial<Demand>): void
}

type Entry = { site: string; ended: boolean; record: PilotRecord }

/**
 * What the manager provides, without a manager. Written to a file, if one is given, at each change, so that another
 * process can go on from it.
 * @param observe brings a record up to date, as a worker's requests to the manager would.
 */
export function testRegistry({
  file,
  observe,
}: { file?: string; observe?: (record: PilotRecord) => void } = {}): TestRegistry {
  const saved = file && existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as [string, Entry][]) : []
  const entries = new Map<string, Entry>(saved)
  let demand: Demand = { queued: 0, leased: 0, ratePerPilot: 0 }
  const orders = new Map<string, SiteOrder>()
  const save = () => file && writeFileSync(file, JSON.stringify([...entries]))

  const registry: TestRegistry = {
    factoryId: 'test',
    endings: [],
    drained: [],
    get created() {
      return registry.creations.reduce((sum, { count }) => sum + count, 0)
    },
    get most() {
      return Math.max(0, ...registry.creations.map(({ count, beside }) => beside + count))
    },
    creations: [],
    create(site, count) {
      registry.creations.push({ count, beside: registry.list(site).length })
      const created = Array.from({ length: count }, () => {
        const pilot = `p${entries.size + 1}`
        entries.set(pilot, { site, ended: false, record: { pilot, createdAt: Date.now() } })
        return { pilot, token: `secret of ${pilot}` }
      })
      save()
      return created
    },
    submitted(pilots) {
      for (const { pilot, jobId } of pilots)
        Object.assign(entries.get(pilot)!.record, { jobId, submittedAt: Date.now() })
      save()
    },
    list(site) {
      const present = [...entries.values()].filter((entry) => entry.site === site && !entry.ended)
      return present.map(({ record }) => {
        observe?.(record)
        return structuredClone(record)
      })
    },
    ended(pilots) {
      registry.endings.push(...pilots)
      for (const { pilot } of pilots) entries.get(pilot)!.ended = true
      save()
    },
    demand: () => demand,
    drain: (pilot) => void registry.drained.push(pilot),
    order: (site) => orders.get(site) ?? 'work',
    setOrder: (site, order) => void orders.set(site, order),
    setDemand: (change) => void (demand = { ...demand, ...change }),
  }
  return registry
}
