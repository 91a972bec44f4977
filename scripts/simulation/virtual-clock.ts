/** A virtual clock with events on it. Events at the same moment happen in the order in which they were put there. */
export class Timeline {
  /** Milliseconds since the simulation began. */
  now = 0
  /** A binary heap: the next event is the first. */
  readonly #events: { at: number; order: number; run: () => void }[] = []
  #order = 0

  /** Runs `run` after `ms`. */
  after(ms: number, run: () => void): void {
    const events = this.#events
    let i = events.push({ at: this.now + ms, order: this.#order++, run }) - 1
    for (let parent = (i - 1) >> 1; i > 0 && this.#before(i, parent); parent = (i - 1) >> 1) {
      this.#swap(i, parent)
      i = parent
    }
  }

  /** Runs `run` every `ms`, first after `ms`, for as long as it does not return false. */
  every(ms: number, run: () => boolean | void): void {
    this.after(ms, () => {
      if (run() !== false) this.every(ms, run)
    })
  }

  /** When the next event is; Infinity if there is none. */
  get nextAt(): number {
    return this.#events[0]?.at ?? Infinity
  }

  /** Goes on to the next event; false if there is none. */
  step(): boolean {
    const events = this.#events
    const next = events[0]
    if (!next) return false
    const last = events.pop()!
    if (events.length > 0) {
      events[0] = last
      this.#sink()
    }
    this.now = next.at
    next.run()
    return true
  }

  #sink(): void {
    for (let i = 0; ;) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < this.#events.length && this.#before(child, least)) least = child
      }
      if (least === i) return
      this.#swap(i, least)
      i = least
    }
  }

  #before(i: number, j: number): boolean {
    const [a, b] = [this.#events[i]!, this.#events[j]!]
    return a.at < b.at || (a.at === b.at && a.order < b.order)
  }

  #swap(i: number, j: number): void {
    const event = this.#events[i]!
    this.#events[i] = this.#events[j]!
    this.#events[j] = event
  }
}
