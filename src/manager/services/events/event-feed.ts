import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { NewEvent } from '../../../protocol/events.ts'
import type { EventFilter, EventPage, EventQuery } from '../../ledger/event-log.ts'
import type { Ledger } from '../../ledger/ledger.ts'

/** Events that may wait for a disk in trouble; then the newest are dropped. */
const MAX_WAITING = 10_000
/** The end of the manager waits so long for a disk in trouble, milliseconds. */
const LAST_MS = 1_000

type Timed = NewEvent & { at: number }

/** Takes events in, one write of the ledger at a time, and tells readers when there is something new. */
export class EventFeed {
  readonly #ledger: Ledger
  readonly #log: Logger
  readonly #now: () => number
  readonly #readers = new Set<() => void>()
  #waiting: Timed[] = []
  #writing: Promise<void> | undefined
  #dropped = 0
  #closed = false
  /** Called with each event when it comes. */
  readonly #listeners = new Set<(event: Timed) => void>()

  constructor(ledger: Ledger, log: Logger, now: () => number) {
    this.#ledger = ledger
    this.#log = log
    this.#now = now
  }

  /** Something happened. It is on disk with the next group of writes. */
  note = (event: NewEvent): void => {
    if (this.#closed) return
    const timed = { at: Math.max(0, Math.round(this.#now())), ...event }
    for (const listener of this.#listeners) listener(timed)
    if (this.#waiting.length >= MAX_WAITING) {
      this.#dropped++
      return
    }
    this.#waiting.push(timed)
    this.#writing ??= this.#write()
  }

  /** Has `listener` called with each event from now on, before it is on disk. */
  onEvent(listener: (event: Timed) => void): void {
    this.#listeners.add(listener)
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const events = this.#waiting
        this.#waiting = []
        await this.#ledger.commits.write(() => this.#ledger.events.add(events), { persist: true })
        for (const tell of [...this.#readers]) tell()
      }
      if (this.#dropped > 0) this.#log.warn({ dropped: this.#dropped }, 'events were dropped')
      this.#dropped = 0
    } catch (error) {
      this.#log.error({ err: error }, 'events were not written')
    } finally {
      this.#writing = undefined
    }
  }

  read(query: EventQuery): EventPage {
    return this.#ledger.events.read(query)
  }

  /** The cursor after which there are so many of these events, at most. */
  before(count: number, filter: EventFilter): number {
    return this.#ledger.events.before(count, filter)
  }

  /** Has `tell` called whenever there are new events to read; call what it returns to end that. */
  follow(tell: () => void): () => void {
    this.#readers.add(tell)
    return () => void this.#readers.delete(tell)
  }

  /** Those who follow now. */
  get followers(): number {
    return this.#readers.size
  }

  /** Writes down what came in; what comes later is not kept. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#writing) await Promise.race([this.#writing, sleep(LAST_MS, undefined, { ref: false })])
  }
}
