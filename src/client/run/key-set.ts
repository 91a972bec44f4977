/** Table size at first, and the share of it that may be taken. */
const SMALLEST = 1 << 12
const FULLEST = 0.7

/**
 * A set of texts by 64-bit fingerprints: some ten to twenty bytes each, however long they are. It may take a text for one that it
 * has, once in some hundred thousand sets of ten million; it never overlooks one.
 */
export class KeySet {
  #table = new Uint32Array(2 * SMALLEST)
  #size = 0

  /** Adds a text. @returns false if it was there, in all likelihood */
  add(key: string): boolean {
    const [low, high] = fingerprint(key)
    if (!insert(this.#table, low, high)) return false
    if (++this.#size > (this.#table.length / 2) * FULLEST) this.#grow()
    return true
  }

  #grow(): void {
    const old = this.#table
    this.#table = new Uint32Array(old.length * 2)
    for (let at = 0; at < old.length; at += 2) {
      const [low, high] = [old[at]!, old[at + 1]!]
      if (low !== 0 || high !== 0) insert(this.#table, low, high)
    }
  }
}

function insert(table: Uint32Array, low: number, high: number): boolean {
  const mask = table.length / 2 - 1
  for (let slot = low & mask; ; slot = (slot + 1) & mask) {
    const at = 2 * slot
    if (table[at] === 0 && table[at + 1] === 0) {
      table[at] = low
      table[at + 1] = high
      return true
    }
    if (table[at] === low && table[at + 1] === high) return false
  }
}

/** Two independent 32-bit hashes, never both 0: multiply-and-mix over the text's code units. */
function fingerprint(key: string): [low: number, high: number] {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    a = Math.imul(a ^ code, 0x9e3779b1)
    b = Math.imul(b ^ code, 0x5f356495)
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35)
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return [a >>> 0, b === 0 ? 1 : b >>> 0]
}
