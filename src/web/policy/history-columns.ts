/*
 * How it came to what is now, from the events that the ledger keeps.
 */

import type { EventOf } from '../../protocol/events.ts'

/** Numbers over common times. */
export interface PastColumns {
  /** Milliseconds since 1970. */
  times: number[]
  /** Pilots that ran, by site. */
  pilots: Record<string, number[]>
  /** Tasks that ended per second, by job. */
  rates: Record<string, number[]>
}

/** @param samples and @param progress the oldest first */
export function pastOf(
  samples: readonly EventOf<'sample'>[],
  progress: readonly EventOf<'job-progress'>[],
): PastColumns {
  // A clock that was set back would fold the charts.
  const ordered = samples.toSorted((a, b) => a.at - b.at)
  const times = ordered.map(({ at }) => at)
  const names = new Set(ordered.flatMap(({ sites }) => sites.map(({ site }) => site)))
  const runningAt = (sample: EventOf<'sample'>, name: string) =>
    sample.sites.find(({ site }) => site === name)?.running ?? 0
  const byJob = Map.groupBy(progress, ({ job }) => String(job))
  return {
    times,
    pilots: Object.fromEntries([...names].map((name) => [name, ordered.map((at) => runningAt(at, name))])),
    rates: Object.fromEntries([...byJob].map(([job, points]) => [job, ratesAt(times, points)])),
  }
}

/** At each time what the job's tasks ended at between the two points around it. */
function ratesAt(times: readonly number[], points: EventOf<'job-progress'>[]): number[] {
  const ordered = points.toSorted((a, b) => a.at - b.at)
  let next = 0
  return times.map((time) => {
    while (next < ordered.length && ordered[next]!.at < time) next++
    const [before, after] = [ordered[next - 1], ordered[next]]
    if (!before || !after || after.at === before.at) return 0
    const ended = after.done + after.failed - before.done - before.failed
    return Number((Math.max(0, ended) / ((after.at - before.at) / 1000)).toPrecision(3))
  })
}
