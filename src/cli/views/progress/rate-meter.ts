/** Measures how fast something is getting done, over the last while. Times are milliseconds. */
export interface RateMeter {
  /** Notes how much has been done in all by now. */
  note(done: number, now: number): void
  /** Per second; 0 until two notes tell. */
  rate(): number
}

export function createRateMeter(windowMs = 10_000): RateMeter {
  let notes: { done: number; now: number }[] = []
  return {
    note(done, now) {
      notes.push({ done, now })
      // The newest note before the window stays: it is where the window begins.
      const begin = notes.findLastIndex((note) => note.now <= now - windowMs)
      if (begin > 0) notes = notes.slice(begin)
    },
    rate() {
      const [first, last] = [notes[0], notes.at(-1)]
      if (!first || !last || last.now === first.now) return 0
      return ((last.done - first.done) * 1000) / (last.now - first.now)
    },
  }
}
