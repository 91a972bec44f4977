/** A set of piece numbers: piece i is bit i % 8 of byte i / 8. The wire format of holdings, too. */
export type Bitmap = Uint8Array

/** An empty set that can hold the numbers below `size`. */
export function bitmap(size: number): Bitmap {
  return new Uint8Array(Math.ceil(size / 8))
}

export function has(bits: Bitmap, index: number): boolean {
  return (bits[index >> 3]! & (1 << (index & 7))) !== 0
}

export function add(bits: Bitmap, index: number): void {
  bits[index >> 3]! |= 1 << (index & 7)
}

export function remove(bits: Bitmap, index: number): void {
  bits[index >> 3]! &= ~(1 << (index & 7))
}

/** How many numbers are in the set. */
export function count(bits: Bitmap): number {
  let total = 0
  for (let byte of bits) {
    for (; byte; byte &= byte - 1) total++
  }
  return total
}

/** Whether these bytes are a set of numbers below `size`: right length, no stray bits at the end. */
export function isBitmap(bits: Uint8Array, size: number): boolean {
  if (bits.length !== Math.ceil(size / 8)) return false
  return size % 8 === 0 || bits[bits.length - 1]! >> (size % 8) === 0
}
