import { busy } from '../../http/api-errors.ts'

/** Most requests that may wait for results at once. */
const MAX_READERS = 1_000

/** Requests that wait for something new to read of a job. */
export class JobReaders {
  readonly #listeners = new Map<number, Set<() => void>>()
  #waiting = 0

  /** There is something new to read of a job. */
  notify(job: number): void {
    for (const listener of this.#listeners.get(job) ?? []) listener()
  }

  /**
   * Resolves when there is something new to read of a job, after `ms` milliseconds, or when the reader is gone.
   * @throws {RequestError} 503 if too many wait
   */
  async wait(job: number, ms: number, gone: AbortSignal): Promise<void> {
    if (this.#waiting >= MAX_READERS) throw busy('too many requests wait for results: ask again soon')
    this.#waiting++
    await this.#change(job, ms, gone)
    this.#waiting--
  }

  #change(job: number, ms: number, gone: AbortSignal): Promise<void> {
    const listeners = this.#listeners.get(job) ?? new Set()
    this.#listeners.set(job, listeners)
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        listeners.delete(done)
        if (listeners.size === 0 && this.#listeners.get(job) === listeners) this.#listeners.delete(job)
        gone.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, ms)
      listeners.add(done)
      gone.addEventListener('abort', done)
      if (gone.aborted) done()
    })
  }
}
