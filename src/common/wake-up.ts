/** Wakes code that waits for something to happen. */
export interface WakeUp {
  wake(): void
  /** Resolves at the next ring, or after `ms` milliseconds. */
  wait(ms: number): Promise<void>
}

/** The longest time a timer of the runtime can wait, milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export function createWakeUp(): WakeUp {
  let waiting: (() => void)[] = []
  return {
    wake() {
      const woken = waiting
      waiting = []
      for (const wake of woken) wake()
    },
    wait(ms) {
      return new Promise((resolve) => {
        const timer = setTimeout(wake, Math.min(ms, LONGEST_TIMER_MS))
        function wake() {
          clearTimeout(timer)
          resolve()
        }
        waiting.push(wake)
      })
    },
  }
}
