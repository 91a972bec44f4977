import type { Registry } from 'prom-client'

/** Upper bounds of buckets, seconds. */
export const FAST = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5]
export const SLOW = [0.001, 0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400]

/**
 * A histogram of durations that takes many equal ones at once, and each for little: tens of thousands of tasks end in a second.
 * prom-client's own has no count to observe.
 */
export class DurationHistogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  /** @param bounds upper bounds of the buckets, seconds, growing */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  /** So many things took so long, milliseconds. */
  add(ms: number, times = 1): void {
    const seconds = Math.max(0, ms) / 1000
    let i = 0
    while (i < this.#bounds.length && seconds > this.#bounds[i]!) i++
    this.#counts[i]! += times
    this.#sum += seconds * times
  }

  /** Shows it under a name, which must end in `_seconds`. */
  showIn(registry: Registry, name: string, help: string): void {
    const get = () => ({ name, help, type: 'histogram', values: this.#values(name), aggregator: 'sum' })
    // What a registry asks of its metrics is this much; its types know its own classes only.
    registry.registerMetric({ name, help, type: 'histogram', get, reset: () => {} } as never)
  }

  #values(name: string) {
    let total = 0
    const buckets = this.#counts.map((count, i) => {
      const le = this.#bounds[i] ?? '+Inf'
      return { labels: { le }, value: (total += count), metricName: `${name}_bucket` }
    })
    return [
      ...buckets,
      { labels: {}, value: this.#sum, metricName: `${name}_sum` },
      { labels: {}, value: total, metricName: `${name}_count` },
    ]
  }
}
