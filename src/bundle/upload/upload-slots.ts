export type UploadSlotLimits = {
  /**
   * Uploads that begin together. Few, so that a piece that no peer has yet leaves whole and early and can be passed
   * on, rather than many pieces at once arriving late. @default 4
   */
  atOnce?: number
  /**
   * An upload that takes longer is held up by the other side's link and makes room for the next, milliseconds. Several of one party
   * share it: two of them have half of it each.
   * @default 20
   */
  patienceMs?: number
  /** Most requests that wait. @default 256 */
  waiting?: number
}

/** Turns to upload: the party that has the fewest comes first, among equals who came first. */
export type UploadSlots = {
  /**
   * Calls `begin` when it is this request's turn. Returns how to end the upload, or to give the turn up before it came;
   * undefined if too many wait already.
   * @param party for whom; one that asks for many must not hold up those that ask for few. Default: one of its own
   */
  turn(begin: () => void, party?: unknown): (() => void) | undefined
}

type Turn = { begin: () => void; since: number; party: unknown }

export function createUploadSlots(limits: UploadSlotLimits = {}): UploadSlots {
  const { atOnce = 4, patienceMs = 20, waiting = 256 } = limits
  const queue = new Set<Turn>()
  /** Those that have not ended, the first that began first; older ones than the patience may be among them. */
  const young = new Set<Turn>()
  /** Runs only while a request waits. */
  let timer: NodeJS.Timeout | undefined

  const youngOf = ({ party }: Turn) => {
    let count = 0
    for (const other of young) if (other.party === party) count++
    return count
  }
  const endOfPatience = (turn: Turn) => turn.since + patienceMs / youngOf(turn)
  const next = () => {
    let first: { turn: Turn; has: number } | undefined
    for (const turn of queue) {
      const has = youngOf(turn)
      if (!first || has < first.has) first = { turn, has }
      if (has === 0) break
    }
    return first?.turn
  }

  const advance = (): void => {
    clearTimeout(timer)
    const now = performance.now()
    for (let turn = next(); turn; turn = next()) {
      // Only where another waits does it matter how long those before it take.
      for (const one of young) if (now >= endOfPatience(one)) young.delete(one)
      if (young.size >= atOnce) {
        timer = setTimeout(advance, Math.min(...[...young].map(endOfPatience)) - now)
        return
      }
      queue.delete(turn)
      young.add(turn)
      turn.since = now
      turn.begin()
    }
  }

  return {
    turn(begin, party = {}) {
      if (queue.size >= waiting) return undefined
      const turn = { begin, since: 0, party }
      queue.add(turn)
      advance()
      return () => {
        queue.delete(turn)
        if (young.delete(turn)) advance()
      }
    },
  }
}

/** How long a request waits for its turn before it is told to ask elsewhere, milliseconds. */
const TURN_MS = 3_000

/** Waits for a turn of a party. Returns how to end it; undefined if there is none in time, or the client is gone. */
export async function awaitUploadSlot(
  uploadSlots: UploadSlots,
  gone: AbortSignal,
  party?: unknown,
): Promise<(() => void) | undefined> {
  if (gone.aborted) return undefined
  const { promise, resolve } = Promise.withResolvers<boolean>()
  let begun = false
  const end = uploadSlots.turn(() => {
    begun = true
    resolve(true)
  }, party)
  if (begun || !end) return end
  const giveUp = () => resolve(false)
  const timer = setTimeout(giveUp, TURN_MS)
  gone.addEventListener('abort', giveUp)
  const came = await promise
  clearTimeout(timer)
  gone.removeEventListener('abort', giveUp)
  if (came) return end
  end()
  return undefined
}
