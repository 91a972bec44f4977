/** The pieces that came last, in memory: neighbours mostly want what is new, and need not wait for the disk. */
export type Recent = {
  note(piece: number, parts: Buffer[]): void
  /** Valid until the next turn of the event loop. */
  get(piece: number): Buffer | undefined
}

/** How long the memory is kept after the last piece came, milliseconds. */
const KEPT_MS = 10_000

/**
 * One block of memory that is written round and round: the pieces in it cost the garbage collector nothing.
 * @param size bytes.
 */
export function keepRecent(size: number): Recent {
  /** Where each piece is in the ring, oldest first. */
  const places = new Map<number, { start: number; end: number }>()
  let ring: Buffer | undefined
  let next = 0
  let timer: NodeJS.Timeout | undefined

  const clear = () => {
    places.clear()
    ring = undefined
    next = 0
    timer = undefined
  }
  return {
    note(piece, parts) {
      const bytes = parts.reduce((sum, part) => sum + part.length, 0)
      if (bytes > size || places.has(piece)) return
      ring ??= Buffer.allocUnsafeSlow(size)
      const wraps = next + bytes > size
      const start = wraps ? 0 : next
      const end = start + bytes
      for (const [old, place] of places) {
        const overwritten = place.start < end && place.end > start
        // What lies behind the last one is older than all that come before it.
        if (!overwritten && !(wraps && place.start >= next)) break
        places.delete(old)
      }
      let at = start
      for (const part of parts) at += part.copy(ring, at)
      places.set(piece, { start, end })
      next = end
      if (timer) timer.refresh()
      else timer = setTimeout(clear, KEPT_MS).unref()
    },
    get(piece) {
      const place = places.get(piece)
      return place && ring?.subarray(place.start, place.end)
    },
  }
}
