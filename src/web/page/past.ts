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
    if (this.times.length > MOST) this.#thin()
  }

  /** Keeps every second point. */
  #thin(): void {
    const even = (_: unknown, i: number) => i % 2 === 0
    this.times = this.times.filter(even)
    for (const [name, column] of this.values) {
      const kept = column.filter(even)
      if (kept.some((value) => value !== 0)) this.values.set(name, kept)
      else this.values.delete(name)
    }
    this.#step *= 2
  }
}

/** What the charts show: how it came to what is now. */
export class Past {
  /** Pilots that run, by site. */
  readonly pilots = new Columns()
  /** Tasks that end per second, by job. */
  readonly rates = new Columns()

  note({ now, sites, jobs }: View): void {
    const time = now / 1000
    this.pilots.push(time, new Map(Object.values(sites).map(({ name, running }) => [name, running])))
    const open = Object.values(jobs).filter(({ state, rate }) => state === 'open' || rate > 0)
    this.rates.push(time, new Map(open.map(({ id, name, rate }) => [`${id} ${name}`, rate])))
  }
}
