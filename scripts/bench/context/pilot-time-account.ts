/*
 * Where a pilot's time went, from what it wrote in its log and what came back from it. Times are milliseconds on one
 * clock. A pilot has one slot, so it does one thing at a time.
 */

/** One thing that happened to the context on a worker, as its log names it. */
export interface LoggedEvent {
  at: number
  type: string
}

export interface PilotHistory {
  startedAt: number
  /** When its worker registered; absent if it did not come so far. */
  registeredAt?: number
  /** When it was evicted, or the work was done. */
  endedAt: number
  evicted: boolean
  events: LoggedEvent[]
  /** Its results: when they were there, and the time its library took for each. */
  results: { at: number; ms: number }[]
}

/** Sums over pilots, milliseconds. */
export interface Account {
  boot: number
  fetch: number
  load: number
  inference: number
  /** What evicted pilots had done since their last result. */
  lost: number
  idle: number
}

export const kinds = ['boot', 'fetch', 'load', 'inference', 'lost', 'idle'] as const

export function accountOf(pilots: readonly PilotHistory[]): Account {
  const sum: Account = { boot: 0, fetch: 0, load: 0, inference: 0, lost: 0, idle: 0 }
  for (const pilot of pilots) {
    const account = accountOfOne(pilot)
    for (const kind of kinds) sum[kind] += account[kind]
  }
  return sum
}

function accountOfOne(pilot: PilotHistory): Account {
  const { startedAt, registeredAt = pilot.endedAt, endedAt, evicted, results } = pilot
  const upAt = Math.min(registeredAt, endedAt)
  const usedUntil = evicted ? Math.max(upAt, ...results.map(({ at }) => at)) : endedAt
  const spent = { fetch: 0, load: 0 }
  for (const { kind, from, to } of climbs(pilot.events, usedUntil)) spent[kind] += to - from
  const boot = upAt - startedAt
  const inference = results.reduce((total, { ms }) => total + ms, 0)
  const lost = endedAt - usedUntil
  const idle = endedAt - startedAt - boot - spent.fetch - spent.load - inference - lost
  return { boot, ...spent, inference, lost, idle }
}

interface Climb {
  kind: 'fetch' | 'load'
  from: number
  to: number
  /** It came to its end. */
  whole: boolean
}

function climbs(events: readonly LoggedEvent[], until: number): Climb[] {
  const found: Climb[] = []
  for (const [i, { at, type }] of events.entries()) {
    if ((type !== 'fetching' && type !== 'loading') || at >= until) continue
    const end = events[i + 1]?.at ?? Infinity
    const kind = type === 'fetching' ? 'fetch' : 'load'
    found.push({ kind, from: at, to: Math.min(end, until), whole: end <= until })
  }
  return found
}

/**
 * Time that each library took to come up, fetching included, as a multiple of the time that its one task took: 2.75 in the
 * paper. For pilots in whose mode each task has a library of its own.
 */
export function ratioOf(pilots: readonly PilotHistory[]): number {
  const ms = { fetch: 0, load: 0 }
  let loads = 0
  for (const { kind, from, to, whole } of pilots.flatMap(({ events, endedAt }) => climbs(events, endedAt))) {
    if (!whole) continue
    ms[kind] += to - from
    if (kind === 'load') loads++
  }
  const results = pilots.flatMap((pilot) => pilot.results)
  const inference = results.reduce((total, result) => total + result.ms, 0)
  return (ms.fetch + ms.load) / loads / (inference / results.length)
}
