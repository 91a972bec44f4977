/** When a run that fails ends early. */
export interface StopPolicy {
  /** At its first failure. */
  failFast: boolean
  /** Never, even if all that has run failed alike. */
  keepGoing: boolean
}

/** Why a run ended early. */
export type StopReason = 'first-failure' | 'all-alike'

/** How the tasks of a job have ended so far. */
interface Ended {
  done: number
  failed: number
}

/** So many failures of one kind, and nothing else, speak against the context or the input rather than against tasks. */
const ALIKE = 100

/** Whether the kinds of failure must be known to decide anything: once, and only while nothing has succeeded. */
export function mayAllBeAlike(before: Ended, now: Ended): boolean {
  return now.done === 0 && before.failed < ALIKE && now.failed >= ALIKE
}

/**
 * Whether a run should end early.
 *
 * @param fresh how the tasks of this run have ended, without those of earlier ones
 * @param kinds kinds of failure, if {@link mayAllBeAlike} asked for them
 */
export function reasonToStop(
  { failFast, keepGoing }: StopPolicy,
  fresh: Ended,
  kinds: number | undefined,
): StopReason | undefined {
  if (keepGoing) return undefined
  if (failFast && fresh.failed > 0) return 'first-failure'
  return kinds === 1 ? 'all-alike' : undefined
}

/** Whether there are now so many more failures that they are worth a word: the first, the tenth, the hundredth, … */
export function isWorthTelling(before: number, now: number): boolean {
  return now > before && Math.floor(Math.log10(now)) > (before > 0 ? Math.floor(Math.log10(before)) : -1)
}
