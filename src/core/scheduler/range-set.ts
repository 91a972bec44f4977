/**
 * A set of whole numbers kept as sorted, disjoint ranges. A million queued tasks with neighbouring numbers take one
 * range, so memory and the cost of taking the lowest numbers do not grow with the queue.
 */
export class RangeSet {
  /** Ranges `[starts[i], ends[i])`, ascending, never touching; those before `head` are used up. */
  #starts: number[] = []
  #ends: number[] = []
  #head = 0
  #size = 0

  /** How many numbers it holds. */
  get size(): number {
    return this.#size
  }

  /** Index of the first range that ends after `n`; it holds `n` if it starts at or before it. */
  #find(n: number): number {
    let low = this.#head
    let high = this.#ends.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ends[middle]! > n) high = middle
      else low = middle + 1
    }
    return low
  }

  has(n: number): boolean {
    const i = this.#find(n)
    return i < this.#starts.length && this.#starts[i]! <= n
  }

  /** How many of its numbers are smaller. */
  countBelow(n: number): number {
    let below = 0
    for (let i = this.#head; i < this.#starts.length && this.#starts[i]! < n; i++)
      below += Math.min(n, this.#ends[i]!) - this.#starts[i]!
    return below
  }

  /** Adds `[start, end)`. Throws RangeError if any of it is there already: a task is queued once. */
  add(start: number, end = start + 1): void {
    if (end <= start) return
    const i = this.#find(start)
    if (i < this.#starts.length && this.#starts[i]! < end) {
      throw new RangeError(`[${start}, ${end}) overlaps [${this.#starts[i]!}, ${this.#ends[i]!})`)
    }
    this.#size += end - start
    const joinsLeft = i > this.#head && this.#ends[i - 1] === start
    const joinsRight = i < this.#starts.length && this.#starts[i] === end
    if (joinsLeft && joinsRight) {
      this.#ends[i - 1] = this.#ends[i]!
      this.#starts.splice(i, 1)
      this.#ends.splice(i, 1)
    } else if (joinsLeft) this.#ends[i - 1] = end
    else if (joinsRight) this.#starts[i] = start
    else {
      this.#starts.splice(i, 0, start)
      this.#ends.splice(i, 0, end)
    }
  }

  /** Removes `n`; false if it was not there. */
  delete(n: number): boolean {
    const i = this.#find(n)
    if (i >= this.#starts.length || this.#starts[i]! > n) return false
    this.#size--
    const start = this.#starts[i]!
    const end = this.#ends[i]!
    if (start === n && end === n + 1) {
      this.#starts.splice(i, 1)
      this.#ends.splice(i, 1)
    } else if (start === n) this.#starts[i] = n + 1
    else if (end === n + 1) this.#ends[i] = n
    else {
      this.#starts.splice(i + 1, 0, n + 1)
      this.#ends.splice(i, 0, n)
    }
    return true
  }

  /** Removes and returns the lowest numbers, at most `count`. */
  take(count: number): number[] {
    const taken: number[] = []
    while (taken.length < count && this.#head < this.#starts.length) {
      const start = this.#starts[this.#head]!
      const stop = Math.min(this.#ends[this.#head]!, start + count - taken.length)
      for (let n = start; n < stop; n++) taken.push(n)
      if (stop === this.#ends[this.#head]) this.#head++
      else this.#starts[this.#head] = stop
    }
    // Used-up ranges are dropped in bulk, so that taking from the front stays cheap.
    if (this.#head > 64 && this.#head * 2 > this.#starts.length) {
      this.#starts.splice(0, this.#head)
      this.#ends.splice(0, this.#head)
      this.#head = 0
    }
    this.#size -= taken.length
    return taken
  }

  clear(): void {
    this.#starts = []
    this.#ends = []
    this.#head = 0
    this.#size = 0
  }
}
