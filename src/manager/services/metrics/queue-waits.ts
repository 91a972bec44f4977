/** Batches that are remembered; of more, every second one stands for the one before it, too. */
const MAX_BATCHES = 10_000

interface Batch {
  /** The first task that is not in it. */
  end: number
  addedAt: number
}

/** Knows when tasks were added, by their numbers, which grow over all jobs. Times are milliseconds. */
export class QueueWaits {
  #batches: Batch[] = []

  /** Tasks up to `end`, without those that were there before, were added now. */
  added(end: number, now: number): void {
    const last = this.#batches.at(-1)
    // Found in the ledger at the start, job by job: their numbers do not grow.
    if (last && (last.addedAt === now || last.end >= end)) last.end = Math.max(last.end, end)
    else this.#batches.push({ end, addedAt: now })
    if (this.#batches.length > MAX_BATCHES) this.#batches = this.#batches.filter((_, i) => i % 2 === 1)
  }

  /** Calls `add` with how long these tasks have waited, and for how many of them that is so. */
  granted(tasks: readonly number[], now: number, add: (ms: number, tasks: number) => void): void {
    for (let from = 0; from < tasks.length;) {
      const index = this.#find(tasks[from]!)
      const batch = this.#batches[index]
      if (!batch) return
      const start = this.#batches[index - 1]?.end ?? 0
      let to = from + 1
      while (to < tasks.length && tasks[to]! < batch.end && tasks[to]! >= start) to++
      add(Math.max(0, now - batch.addedAt), to - from)
      from = to
    }
  }

  /** The place of the batch that has a task. */
  #find(task: number): number {
    let [low, high] = [0, this.#batches.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#batches[middle]!.end <= task) low = middle + 1
      else high = middle
    }
    return low
  }
}
