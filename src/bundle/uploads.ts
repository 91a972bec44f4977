export type UploadLimits = {
  /**
   * Uploads that begin together. Few, so that a piece that nobody else has yet leaves whole and early and can be passed
   * on, rather than many pieces at once arriving late. @default 4
   */
  atOnce?: number
  /** An upload that takes longer is held up by the other side's link and makes room for the next, milliseconds. @default 450 */
  patienceMs?: number
  /** Most uploads under way, slow ones included. @default 64 */
  most?: number
  /** Most requests that wait. @default 456 */
  waiting?: number
}

/** Turns to upload, first come first served. */
export type Uploads = {
  /** Waits for a turn and returns how to end it; undefined if too many wait already, or when `signal` fires. */
  turn(signal: AbortSignal): Promise<(() => void) | undefined>
}

export function limitUploads(limits: UploadLimits = {}): Uploads {
  const { atOnce = 4, patienceMs = 20, most = 64, waiting = 256 } = limits
  const queue = new Set<() => void>()
  let fresh = 0
  let running = 0

  const advance = () => {
    for (const start of queue) {
      if (fresh >= atOnce || running >= most) return
      queue.delete(start)
      start()
    }
  }
  const begin = (): (() => void) => {
    fresh++
    running++
    let young = true
    const age = () => {
      if (young) fresh--
      young = false
      advance()
    }
    const timer = setTimeout(age, patienceMs)
    return () => {
      clearTimeout(timer)
      running--
      age()
    }
  }

  return {
    turn(signal) {
      if (signal.aborted || queue.size >= waiting) return Promise.resolve(undefined)
      return new Promise((resolve) => {
        const start = () => {
          signal.removeEventListener('abort', giveUp)
          resolve(begin())
        }
        const giveUp = () => {
          queue.delete(start)
          resolve(undefined)
        }
        signal.addEventListener('abort', giveUp)
        queue.add(start)
        advance()
      })
    },
  }
}
