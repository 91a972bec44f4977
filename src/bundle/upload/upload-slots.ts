export type UploadSlotLimits = {
  /**
   * Uploads that begin together. Few, so that a piece that no peer has yet leaves whole and early and can be passed
   * on, rather than many pieces at once arriving late. @default 4
   */
  atOnce?: number
  /**
   * An upload that takes longer is held up by the other side's link and makes room for the next, milliseconds.
   * @default 20
   */
  patienceMs?: number
  /** Most requests that wait. @default 256 */
  waiting?: number
}

/** Turns to upload, first come first served. */
export type UploadSlots = {
  /**
   * Calls `begin` when it is this request's turn. Returns how to end the upload, or to give the turn up before it came;
   * undefined if too many wait already.
   */
  turn(begin: () => void): (() => void) | undefined
}

type Turn = { begin: () => void; since: number }

export function createUploadSlots(limits: UploadSlotLimits = {}): UploadSlots {
  const { atOnce = 4, patienceMs = 20, waiting = 256 } = limits
  const queue = new Set<Turn>()
  /** Those that have not ended, the first that began first; older ones than the patience may be among them. */
  const young = new Set<Turn>()
  /** Runs only while a request waits. */
  let timer: NodeJS.Timeout | undefined

  const advance = (): void => {
    clearTimeout(timer)
    const now = performance.now()
    for (const turn of young) if (now - turn.since >= patienceMs) young.delete(turn)
    for (const turn of queue) {
      if (young.size >= atOnce) {
        const [oldest] = young
        timer = setTimeout(advance, oldest!.since + patienceMs - now)
        return
      }
      queue.delete(turn)
      young.add(turn)
      turn.since = now
      turn.begin()
    }
  }

  return {
    turn(begin) {
      if (queue.size >= waiting) return undefined
      const turn = { begin, since: 0 }
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

/** Waits for a turn. Returns how to end it; undefined if there is none in time, or the client is gone. */
export async function awaitUploadSlot(
  uploadSlots: UploadSlots,
  gone: AbortSignal,
): Promise<(() => void) | undefined> {
  if (gone.aborted) return undefined
  const { promise, resolve } = Promise.withResolvers<boolean>()
  let begun = false
  const end = uploadSlots.turn(() => {
    begun = true
    resolve(true)
  })
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
