/** One timer for many moments: goes off at the earliest it was set for. */
export interface DeadlineTimer {
  /** Goes off at this time at the latest, on the process's monotonic clock. */
  set(at: number): void
  clear(): void
}

export function createDeadlineTimer(onTime: () => void): DeadlineTimer {
  let earliest = Infinity
  let timer: NodeJS.Timeout | undefined
  const clear = () => {
    clearTimeout(timer)
    earliest = Infinity
  }
  return {
    set(at) {
      if (at >= earliest) return
      clear()
      earliest = at
      timer = setTimeout(() => {
        earliest = Infinity
        onTime()
      }, at - performance.now())
    },
    clear,
  }
}
