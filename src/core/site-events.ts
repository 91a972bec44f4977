import type { SiteStatus } from '../protocol/status.ts'
import type { NewEvent } from '../protocol/events.ts'

/** What of a site's status decides whether it submits. */
type Standing = Pick<SiteStatus, 'name' | 'paused' | 'retryAt'>

/**
 * What happened to sites between two looks at them: a site whose reason changes is told of again, one that only waits longer for
 * the same reason is not.
 */
export function siteChanges(before: ReadonlyMap<string, Standing>, after: readonly Standing[]): NewEvent[] {
  return after.flatMap(({ name: site, paused: reason, retryAt }): NewEvent[] => {
    const last = before.get(site)
    if (reason === undefined) return last?.paused === undefined ? [] : [{ type: 'site-resumed', site }]
    if (last?.paused === reason && (last.retryAt === undefined) === (retryAt === undefined)) return []
    if (retryAt === undefined) return [{ type: 'site-paused', site, reason }]
    return [{ type: 'site-backoff', site, reason, retryAt }]
  })
}
