import { setTimeout as delay } from 'node:timers/promises'

/** What was last heard of things that are looked at. */
export interface ProgressPoller<T> {
  /** What was last heard of it. A look makes sure that there will be more. */
  of(key: string): T | undefined
}

/** How often is asked, and for how long after the last look, milliseconds. */
const EVERY_MS = 1_000
const INTEREST_MS = 5_000
/** Most things asked for at once; the others get their turn. */
const MOST = 1_000

export interface ProgressPollerOptions<T> {
  ask: (keys: string[]) => Promise<T[]>
  /** Whether there can still be news of it. */
  isOpen: (key: string) => boolean
}

/** Asks for news of what is looked at, all of it at once, and of nothing else. It keeps no caller waiting, and no process alive. */
export function createProgressPoller<T extends { key: string }>({
  ask,
  isOpen,
}: ProgressPollerOptions<T>): ProgressPoller<T> {
  const heard = new Map<string, T>()
  /** When each was last looked at; those asked for last are at the end. */
  const looked = new Map<string, number>()
  let asking = false

  async function keepAsking(): Promise<void> {
    for (let keys = ofInterest(); keys.length > 0; keys = ofInterest()) {
      // A factory that is away will have news when it is back.
      for (const news of await ask(keys).catch(() => [])) heard.set(news.key, news)
      await delay(EVERY_MS, undefined, { ref: false })
    }
    asking = false
  }

  function ofInterest(): string[] {
    const since = performance.now() - INTEREST_MS
    for (const [key, at] of looked) {
      if (!isOpen(key)) heard.delete(key)
      if (at < since || !isOpen(key)) looked.delete(key)
    }
    const next = [...looked].slice(0, MOST)
    for (const [key, at] of next) {
      looked.delete(key)
      looked.set(key, at)
    }
    return next.map(([key]) => key)
  }

  return {
    of(key) {
      if (isOpen(key)) {
        looked.set(key, performance.now())
        const start = !asking
        asking = true
        if (start) void keepAsking()
      }
      return heard.get(key)
    },
  }
}
