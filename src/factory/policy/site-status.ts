import type { Demand, PilotRecord } from '../../core/interfaces/pilot-registry.ts'
import type { Decision, Health, PilotView } from '../../core/pilot-scaling.ts'
import type { SiteOrder, SiteStatus } from '../../protocol/status.ts'
import type { SiteConfig } from '../config/config.ts'
import type { Job } from '../sites/site.ts'
import type { SiteProblem } from './site-problems.ts'

/** A site as it was seen last. Times are milliseconds by one clock. */
export type SiteSnapshot = {
  config: SiteConfig
  /** What takes up room there. */
  pilots: readonly PilotView[]
  /** Its jobs as the queue showed them. */
  jobs: readonly Job[]
  decision: Decision
  /** What a user has told it. */
  order: SiteOrder
  /** What keeps it from submitting anything, and what else is wrong at the site. */
  problems: readonly SiteProblem[]
  warnings: readonly string[]
  /** Why pilots that run have not registered. */
  silence: SiteStatus['reasons']
  /** How its last pilots fared. */
  health: Health
  avoidNodes: readonly string[]
  /** Its pilots as the manager knows them now. */
  records: readonly PilotRecord[]
  demand: Demand
  /** When its queue was seen last. */
  listedAt: number
  now: number
}

/** What users are told of a site. */
export function siteStatus(site: SiteSnapshot): SiteStatus {
  const { config, pilots, jobs, decision, order, problems, warnings, silence, health, records } = site
  const { wanted, paused } = decision
  const stateOf = pilotStates(records)
  const count = (...states: PilotView['state'][]) =>
    pilots.filter((pilot) => states.includes(stateOf(pilot))).length
  const told = (['pending', 'held'] as const).flatMap((state) => {
    const reasons = jobs.flatMap((job) => (job.state === state && job.reason !== undefined ? job.reason : []))
    const alike = [...Map.groupBy(reasons, (reason) => reason)]
    return alike.map(([reason, { length: pilots }]) => ({ reason, pilots, state }))
  })
  const trouble = problems.length > 0 ? problems.map(({ text }) => text).join('; ') : undefined
  const why = trouble ?? ORDERED[order] ?? paused?.reason
  return {
    name: config.name,
    kind: config.kind,
    policy: config.policy,
    order,
    max: config.max,
    wanted,
    pending: count('submitting', 'pending'),
    running: count('running'),
    held: count('held'),
    registered: pilots.filter(({ registered }) => registered).length,
    ...(why !== undefined && { paused: why }),
    ...(trouble === undefined && order === 'work' && paused && { retryAt: paused.until }),
    ...(why === undefined && health.failures > 0 && { lastFailure: health.reason }),
    ...(warnings.length > 0 && { warnings: shortened(warnings) }),
    reasons: [...silence, ...told],
  }
}

/** The state of each pilot: a worker that speaks runs, even if the queue was looked at before it did. */
export function pilotStates(records: readonly PilotRecord[]): (pilot: PilotView) => PilotView['state'] {
  const working = new Set(
    records.filter(({ worker }) => worker?.state === 'active').map(({ pilot }) => pilot),
  )
  return ({ pilot, state }) =>
    working.has(pilot) && (state === 'submitting' || state === 'pending') ? 'running' : state
}

/** Why a site submits nothing that a user has told something else than to work. */
const ORDERED: Partial<Record<SiteOrder, string>> = {
  pause: 'paused by a user: "factory sites resume" has it go on',
  drain: 'drained by a user: "factory sites resume" has it go on',
}

const SHOWN = 3

function shortened(warnings: readonly string[]): string[] {
  const distinct = [...new Set(warnings)]
  const more = distinct.length - SHOWN
  return more > 0 ? [...distinct.slice(0, SHOWN), `and ${more} more like these`] : distinct
}
