/** Something at a site without which nothing is submitted: a login that only a person can give, its queue, or its relay. */
export interface SiteProblem {
  of: 'login' | 'batch-system' | 'relay'
  /** For the user. */
  text: string
}

/** What a connection that is postponed says of its next attempt. */
const NEXT_TRY = / \(tries again in \d+ s\)$/

/**
 * All that is wrong at a site. What keeps the relay from running may be what keeps the queue from being seen: that is told once.
 * @param queue what was wrong when the queue was used last
 * @param relay why the relay does not run
 */
export function siteProblems(queue: SiteProblem | undefined, relay: string | undefined): SiteProblem[] {
  const cause = queue?.text.replace(NEXT_TRY, '')
  const own = relay?.replace(NEXT_TRY, '')
  const isSame = cause !== undefined && own?.endsWith(`: ${cause}`)
  const text = isSame ? `${own!.slice(0, -`: ${cause}`.length)}, for the same reason` : relay
  return [...(queue ? [queue] : []), ...(text === undefined ? [] : [{ of: 'relay' as const, text }])]
}
