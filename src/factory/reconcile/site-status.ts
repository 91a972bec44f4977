import type { PilotRecord } from '../../core/pilot-registry.ts'
import type { Decision, Health, PilotView } from '../../core/pilot-scaling.ts'
import type { SiteStatus } from '../../protocol/client.ts'
import type { SiteConfig } from '../config/config.ts'
import type { Job } from '../sites/site.ts'

/**
 * What users are told of a site.
 * @param jobs as the queue showed them last
 * @param trouble what was wrong with the batch system when it was asked last
 * @param health how its last pilots fared
 * @param records its pilots as the manager knows them now
 * @param warnings what else was
 */
export function siteStatus(
  config: SiteConfig,
  pilots: readonly PilotView[],
  jobs: readonly Job[],
  { wanted, paused }: Decision,
  trouble: string | undefined,
  health: Health,
  records: readonly PilotRecord[],
  warnings: readonly string[],
): SiteStatus {
  const working = new Set(
    records.filter(({ worker }) => worker?.state === 'active').map(({ pilot }) => pilot),
  )
  // A worker that speaks runs, even if the queue was looked at before it did.
  const stateOf = ({ pilot, state }: PilotView) =>
    working.has(pilot) && (state === 'submitting' || state === 'pending') ? 'running' : state
  const count = (...states: PilotView['state'][]) =>
    pilots.filter((pilot) => states.includes(stateOf(pilot))).length
  const reasons = Map.groupBy(
    jobs.filter(({ state, reason }) => (state === 'pending' || state === 'held') && reason !== undefined),
    ({ reason }) => reason!,
  )
  const why = trouble ?? paused?.reason
  return {
    name: config.name,
    kind: config.kind,
    policy: config.policy,
    max: config.max,
    wanted,
    pending: count('submitting', 'pending'),
    running: count('running'),
    held: count('held'),
    registered: pilots.filter(({ registered }) => registered).length,
    ...(why !== undefined && { paused: why }),
    ...(trouble === undefined && paused && { retryAt: paused.until }),
    ...(why === undefined && health.failures > 0 && { lastFailure: health.reason }),
    ...(warnings.length > 0 && { warnings: shortened(warnings) }),
    reasons: [...reasons].map(([reason, held]) => ({ reason, pilots: held.length })),
  }
}

const SHOWN = 3

function shortened(warnings: readonly string[]): string[] {
  const distinct = [...new Set(warnings)]
  const more = distinct.length - SHOWN
  return more > 0 ? [...distinct.slice(0, SHOWN), `and ${more} more like these`] : distinct
}
