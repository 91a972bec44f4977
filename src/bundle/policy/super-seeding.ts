/**
 * Which pieces a source that holds them all hands out, so that each leaves it about once and workers get the rest from
 * each other: first those that never left, then those that left longest ago.
 */
export type SuperSeeding = {
  /** Notes that pieces leave at `now` (milliseconds). */
  sent(first: number, count: number, now: number): void
  /**
   * A run of wanted pieces, as long as `fits` allows. Undefined if all of them left so recently that they must still be on
   * their way through the peers.
   */
  choose(
    wanted: (piece: number) => boolean,
    now: number,
    fits: (first: number, count: number) => boolean,
  ): { first: number; count: number } | undefined
}

/** How long a piece that left is given to reach the peers of the worker that took it, milliseconds: on slow links this takes seconds. */
const SETTLE_MS = 10_000

export function createSuperSeeding(pieces: number): SuperSeeding {
  const sentAt = new Float64Array(pieces).fill(-Infinity)
  return {
    sent: (first, count, now) => void sentAt.fill(now, first, first + count),
    choose(wanted, now, fits) {
      let first = -1
      for (let piece = 0; piece < pieces; piece++) {
        if (!wanted(piece) || (first >= 0 && sentAt[piece]! >= sentAt[first]!)) continue
        first = piece
        if (sentAt[first] === -Infinity) break
      }
      if (first < 0 || sentAt[first]! > now - SETTLE_MS) return undefined
      const oldest = sentAt[first]!
      let count = 1
      while (
        first + count < pieces &&
        wanted(first + count) &&
        sentAt[first + count]! <= oldest &&
        fits(first, count + 1)
      ) {
        count++
      }
      return { first, count }
    },
  }
}
