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

/** How many tasks of a job had ended at a time. */
export type JobPoint = { at: number; job: number; done: number; failed: number }

/** @param points of all jobs, from their beginning to their end: what ended between two is spread over the time between them */
export function pastOf(samples: readonly EventOf<'sample'>[], points: readonly JobPoint[]): PastColumns {
  // A clock that was set back would fold the charts.
  const ordered = samples.toSorted((a, b) => a.at - b.at)
  const times = ordered.map(({ at }) => at)
  const names = new Set(ordered.flatMap(({ sites }) => sites.map(({ site }) => site)))
  const runningAt = (sample: EventOf<'sample'>, name: string) =>
    sample.sites.find(({ site }) => site === name)?.running ?? 0
  const byJob = Map.groupBy(points, ({ job }) => String(job))
  return {
    times,
    pilots: Object.fromEntries([...names].map((name) => [name, ordered.map((at) => runningAt(at, name))])),
    rates: Object.fromEntries([...byJob].map(([job, own]) => [job, ratesAt(times, own)])),
  }
}

/** For each time, what has ended per second since the one before it. */
function ratesAt(times: readonly number[], points: JobPoint[]): number[] {
  const ended = endedAt(
    times,
    points.toSorted((a, b) => a.at - b.at),
  )
  return times.map((time, i) => {
    const seconds = (time - (times[i - 1] ?? time)) / 1000
    if (seconds <= 0) return 0
    return Number((Math.max(0, ended[i]! - ended[i - 1]!) / seconds).toPrecision(3))
  })
}

/** Tasks of a job that had ended at each time. Both in order. */
function endedAt(times: readonly number[], points: readonly JobPoint[]): number[] {
  let next = 0
  return times.map((time) => {
    while (next < points.length && points[next]!.at <= time) next++
    const [before, after] = [points[next - 1] ?? points[0]!, points[next] ?? points.at(-1)!]
    const [from, to] = [before.done + before.failed, after.done + after.failed]
    if (time <= before.at || after.at <= before.at) return from
    return from + ((to - from) * (time - before.at)) / (after.at - before.at)
  })
}
