/** Buffers to be used again: a process that serves hundreds of megabytes per second would otherwise be busy freeing them. */
export type BufferPool = {
  take(bytes: number): Buffer
  /** Gives back what `take` gave, once no reader is left. */
  give(buffer: Buffer): void
}

/** @param most bytes kept for later use. */
export function createBufferPool(most = 32 << 20): BufferPool {
  const kept = new Map<number, ArrayBuffer[]>()
  let bytesKept = 0
  return {
    take(bytes) {
      const size = sizeFor(bytes)
      const found = kept.get(size)?.pop()
      if (found) bytesKept -= size
      return Buffer.from(found ?? new ArrayBuffer(size), 0, bytes)
    },
    give({ buffer, byteLength }) {
      const size = sizeFor(byteLength)
      if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== size || bytesKept + size > most) return
      kept.set(size, [...(kept.get(size) ?? []), buffer])
      bytesKept += size
    },
  }
}

function sizeFor(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096)))
}
