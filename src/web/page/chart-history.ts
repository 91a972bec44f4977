import type { PastColumns } from '../policy/history-columns.ts'
import type { View } from '../view.ts'

/** Most points of a chart: more than it has pixels would not be seen. */
const MOST = 900

/** One column of numbers for each name, over common times. */
export class Columns {
  /** Seconds since 1970. */
  times: number[] = []
  readonly values = new Map<string, number[]>()
  /** Points are at least so far apart, seconds. */
  #step = 1

  /** Adds a point; names that it does not have are 0. */
  push(time: number, point: ReadonlyMap<string, number>): void {
    if (this.times.length > 0 && time - this.times.at(-1)! < this.#step * 0.9) return
    for (const name of point.keys()) {
      if (!this.values.has(name))
        this.values.set(
          name,
          this.times.map(() => 0),
        )
    }
    this.times.push(time)
    for (const [name, column] of this.values) column.push(point.get(name) ?? 0)
    while (this.times.length > MOST) this.#thin()
  }

  /** Begins with what was before. */
  begin(times: number[], values: Record<string, number[]>): void {
    this.times = times
    for (const [name, column] of Object.entries(values)) this.values.set(name, column)
    while (this.times.length > MOST) this.#thin()
  }

  /** Keeps points that are twice as far apart: the past is as coarse as it has to be, and no coarser than the present. */
  #thin(): void {
    this.#step *= 2
    let last = -Infinity
    const kept = this.times.map((time) => {
      if (time - last < this.#step) return false
      last = time
      return true
    })
    this.times = this.times.filter((_, i) => kept[i])
    for (const [name, column] of this.values) {
      const rest = column.filter((_, i) => kept[i])
      if (rest.some((value) => value !== 0)) this.values.set(name, rest)
      else this.values.delete(name)
    }
  }
}

/** What the charts show: how it came to what is now. */
export class Past {
  /** Pilots that run, by site. */
  readonly pilots = new Columns()
  /** Tasks that end per second, by job. */
  readonly rates = new Columns()

  /** Begins with what the ledger knows. */
  begin({ times, pilots, rates }: PastColumns): void {
    const seconds = times.map((ms) => ms / 1000)
    this.pilots.begin(seconds, pilots)
    this.rates.begin([...seconds], rates)
  }

  note({ now, sites, jobs }: View): void {
    const time = now / 1000
    this.pilots.push(time, new Map(Object.values(sites).map(({ name, running }) => [name, running])))
    this.rates.push(time, new Map(Object.values(jobs).map(({ id, rate }) => [String(id), rate])))
  }
}
