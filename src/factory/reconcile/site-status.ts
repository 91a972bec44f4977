import type { Decision, PilotView } from '../../core/pilot-scaling.ts'
import type { SiteStatus } from '../../protocol/client.ts'
import type { SiteConfig } from '../config/config.ts'
import type { Job } from '../sites/site.ts'

/**
 * What users are told of a site.
 * @param jobs as the queue showed them last
 * @param trouble what was wrong with the batch system when it was asked last
 */
export function siteStatus(
  config: SiteConfig,
  pilots: readonly PilotView[],
  jobs: readonly Job[],
  { wanted, paused }: Decision,
  trouble: string | undefined,
): SiteStatus {
  const count = (...states: PilotView['state'][]) =>
    pilots.filter(({ state }) => states.includes(state)).length
  const reasons = Map.groupBy(
    jobs.filter(({ state, reason }) => (state === 'pending' || state === 'held') && reason !== undefined),
    ({ reason }) => reason!,
  )
  const pause = paused && `${paused.reason}; next try at ${new Date(paused.until).toISOString()}`
  const why = trouble ?? pause
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
    reasons: [...reasons].map(([reason, held]) => ({ reason, pilots: held.length })),
  }
}
