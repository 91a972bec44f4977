import { setTimeout as sleep } from 'node:timers/promises'

/** A sleep that can be cut short. A ring when no sleep is under way makes the next sleep short. */
export function interruptibleSleep() {
  let ringing = new AbortController()
  return {
    ring: () => ringing.abort(),
    /** Sleeps for `longest` milliseconds, or until it rings but at least for `shortest`. */
    async sleep(shortest: number, longest: number) {
      await sleep(shortest)
      await sleep(Math.max(0, longest - shortest), undefined, { signal: ringing.signal }).catch(() => {})
      ringing = new AbortController()
    },
  }
}
