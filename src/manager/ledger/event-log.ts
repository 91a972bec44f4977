import { JsonText } from '../../protocol/json/json-text.ts'
import type { EventType, FactoryEvent, NewEvent } from '../../protocol/events.ts'
import type { Statements } from './database.ts'

/** Rows and bytes that events may take in the ledger. */
export interface EventBounds {
  rows: number
  bytes: number
}

const BOUNDS: EventBounds = { rows: 200_000, bytes: 64 << 20 }

/** Totals that come again and again: of old ones, every second is enough. */
const PERIODIC: EventType[] = ['sample', 'job-progress']
/** Rows that are looked at, at most, to make room for what came in: others take turns. */
const SLICE = 1_000
/** Room is made by at least this part of a slice, or else the oldest rows go. */
const LEAST_FREED = 1 / 10
/** What a row takes beside its text, bytes. */
const ROW_BYTES = 64

/** Which events are of interest: all, or those of a job, of a site, of some types. */
export interface EventFilter {
  job?: number | undefined
  site?: string | undefined
  types?: readonly EventType[] | undefined
}

/** Which events to read. */
export interface EventQuery extends EventFilter {
  after: number
  limit: number
  /** Most characters, unless a single event is larger. Default: 4 Mi. */
  maxLength?: number
}

/** Events as JSON text, and the cursor from which to go on. */
export interface EventPage {
  events: JsonText[]
  cursor: number
  more: boolean
}

const PAGE_LENGTH = 4 << 20

/**
 * The events that the ledger keeps, within bounds: of old samples every second one goes, again and again, and then the oldest
 * events of all. Writing is for the ledger's committer to call.
 */
export class EventLog {
  readonly #ledger: Statements
  readonly #bounds: EventBounds
  /** What is there, and the greatest cursor that was given out; unknown until it is counted. */
  #counted: { rows: number; bytes: number; last: number } | undefined
  /** Rows up to here were thinned in this round. */
  #thinned = 0

  constructor(ledger: Statements, bounds: EventBounds = BOUNDS) {
    this.#ledger = ledger
    this.#bounds = bounds
  }

  /** The cursor of the newest event; 0 if there was none ever. */
  get last(): number {
    return this.#counts.last
  }

  /** Rows, and bytes that they take. */
  get size(): EventBounds {
    const { rows, bytes } = this.#counts
    return { rows, bytes }
  }

  /** A write was undone: what is there is counted anew. */
  forget(): void {
    this.#counted = undefined
  }

  get #counts(): { rows: number; bytes: number; last: number } {
    return (this.#counted ??= this.#count())
  }

  #count(): { rows: number; bytes: number; last: number } {
    const { rows, bytes } = this.#ledger
      .sql(`SELECT count(*) AS rows, total(octet_length(body) + ${ROW_BYTES}) AS bytes FROM events`)
      .get() as { rows: number; bytes: number }
    const used = this.#ledger.sql(`SELECT seq FROM sqlite_sequence WHERE name = 'events'`).get()
    return { rows, bytes, last: Number(used?.seq ?? 0) }
  }

  /** Adds events, in this order, and makes room for them if need be. */
  add(events: readonly (NewEvent & { at: number })[]): void {
    const insert = this.#ledger.sql('INSERT INTO events (at, type, job, site, body) VALUES (?, ?, ?, ?, ?)')
    const counts = this.#counts
    for (const event of events) {
      const body = JSON.stringify(event)
      const job = 'job' in event ? event.job : null
      const site = 'site' in event ? event.site : null
      counts.last = Number(insert.run(event.at, event.type, job, site, body).lastInsertRowid)
      counts.rows++
      counts.bytes += Buffer.byteLength(body) + ROW_BYTES
    }
    // A slice for each that came in, so that room is made as fast as it is taken.
    for (let left = events.length; left > 0 && this.#isFull; left -= SLICE * LEAST_FREED) this.#makeRoom()
  }

  get #isFull(): boolean {
    const { rows, bytes } = this.#counts
    return rows > this.#bounds.rows || bytes > this.#bounds.bytes
  }

  #makeRoom(): void {
    const { upTo } = this.#ledger
      .sql('SELECT max(id) AS upTo FROM (SELECT id FROM events WHERE id > ? ORDER BY id LIMIT ?)')
      .get(this.#thinned, SLICE) as { upTo: number | null }
    const marks = PERIODIC.map(() => '?').join()
    const freed = this.#delete(
      `DELETE FROM events WHERE id IN (SELECT id FROM (
         SELECT id, row_number() OVER (PARTITION BY type, job ORDER BY id) AS number
         FROM events WHERE id > ? AND id <= ? AND type IN (${marks})) WHERE number % 2 = 0)`,
      [this.#thinned, upTo ?? this.last, ...PERIODIC],
    )
    if (freed < SLICE * LEAST_FREED)
      this.#delete('DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id LIMIT ?)', [
        Math.ceil(SLICE * LEAST_FREED),
      ])
    const first = this.#oldest()
    const half = first + (this.last - first) / 2
    // The newer half stays as it is.
    this.#thinned = upTo === null || upTo > half ? 0 : upTo
  }

  #oldest(): number {
    return (this.#ledger.sql('SELECT min(id) AS id FROM events').get()?.id as number | null) ?? 0
  }

  #delete(text: string, values: (string | number)[]): number {
    const counts = this.#counts
    const before = counts.rows
    for (const row of this.#ledger.sql(`${text} RETURNING octet_length(body) AS bytes`).all(...values)) {
      counts.rows--
      counts.bytes -= (row.bytes as number) + ROW_BYTES
    }
    return before - counts.rows
  }

  /** Events after a cursor, oldest first. A cursor that was never given out is one of another ledger: all are read anew. */
  read({ after, limit, maxLength = PAGE_LENGTH, ...filter }: EventQuery): EventPage {
    const from = after > this.last ? 0 : after
    const { where, values } = conditions(filter)
    const rows = this.#ledger
      .sql(`SELECT id, body FROM events WHERE id > ?${where} ORDER BY id LIMIT ?`)
      .iterate(from, ...values, limit + 1)
    const events: JsonText[] = []
    let cursor = from
    let length = 0
    for (const { id, body } of rows as Iterable<{ id: number; body: string }>) {
      length += body.length
      if (events.length === limit || (events.length > 0 && length > maxLength))
        return { events, cursor, more: true }
      events.push(new JsonText(`{"cursor":${id},${body.slice(1)}`))
      cursor = id
    }
    // What the filter left out was looked at, too.
    return { events, cursor: this.last, more: false }
  }

  /** The cursor after which there are so many of these events, at most. */
  before(count: number, filter: EventFilter): number {
    const { where, values } = conditions(filter)
    const row = this.#ledger
      .sql(`SELECT id FROM events WHERE id > 0${where} ORDER BY id DESC LIMIT 1 OFFSET ?`)
      .get(...values, count)
    return (row?.id as number | undefined) ?? 0
  }

  /** The newest event of a type. */
  latest<Type extends EventType>(type: Type): Extract<FactoryEvent, { type: Type }> | undefined {
    const row = this.#ledger
      .sql('SELECT id, body FROM events WHERE type = ? ORDER BY id DESC LIMIT 1')
      .get(type)
    if (!row) return undefined
    return { cursor: row.id, ...(JSON.parse(row.body as string) as object) } as Extract<
      FactoryEvent,
      { type: Type }
    >
  }
}

function conditions({ job, site, types }: EventFilter): { where: string; values: (string | number)[] } {
  const where = [
    job === undefined ? '' : ' AND job = ?',
    site === undefined ? '' : ' AND site = ?',
    types === undefined ? '' : ` AND type IN (${types.map(() => '?').join()})`,
  ].join('')
  const values = [job, site, ...(types ?? [])].filter((value) => value !== undefined)
  return { where, values }
}
