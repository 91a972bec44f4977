/** How fast counters grow, from what they showed lately. */
export interface Rates {
  readonly windowMs: number
  /** By counter, what it showed and when, the oldest first. */
  readonly samples: Map<string, { at: number; value: number }[]>
}

export const createRates = (windowMs: number): Rates => ({ windowMs, samples: new Map() })

/**
 * Notes what all counters show now. Those that are not among them are forgotten.
 * @param at milliseconds
 */
export function noteCounters(rates: Rates, counters: ReadonlyMap<string, number>, at: number): void {
  for (const name of rates.samples.keys()) if (!counters.has(name)) rates.samples.delete(name)
  for (const [name, value] of counters) {
    const samples = rates.samples.get(name) ?? []
    // One that went back counts something else now.
    if (samples.length > 0 && value < samples.at(-1)!.value) samples.length = 0
    samples.push({ at, value })
    while (samples.length > 2 && samples[1]!.at <= at - rates.windowMs) samples.shift()
    rates.samples.set(name, samples)
  }
}

/** What a counter grew by per second over the window; 0 if that is not known yet. */
export function rateOf(rates: Rates, name: string): number {
  const samples = rates.samples.get(name)
  const [first, last] = [samples?.[0], samples?.at(-1)]
  if (!first || !last || last.at <= first.at) return 0
  return ((last.value - first.value) / (last.at - first.at)) * 1000
}
