import type { Statements } from './database.ts'
import type { Tables } from './ledger-tables.ts'

/** A pilot that has not ended. Times are milliseconds since 1970. */
export interface PilotRow {
  id: number
  site: string
  /** What the batch system calls its job, once it is known. */
  jobId: string | null
  createdAt: number
  submittedAt: number | null
  registeredAt: number | null
}

/** A worker whose session was valid when the manager last ran. */
export interface WorkerRow {
  id: number
  pilot: number
  site: string
  sessionHash: Uint8Array
  /** What it said of itself, as JSON. */
  info: string
  registeredAt: number
}

/** Makes the token of what has this number, and what is kept of it. */
export type MakeToken = (number: number) => { token: string; hash: Uint8Array }

/** Pilots and the workers they booted. What is written here is rare, so it is durable on return. */
export class PilotStore {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  /** No time is ahead of the clock, which may have been set back since the last start: it would hold a pilot's place until then. */
  bringTimesBack(now: number): void {
    this.#tables
      .sql(
        `UPDATE pilots SET created_at = min(created_at, :now), submitted_at = min(submitted_at, :now),
         registered_at = min(registered_at, :now) WHERE ended_at IS NULL`,
      )
      .run({ now })
  }

  /** Adds pilots before they are submitted. */
  add(site: string, count: number, now: number, makeToken: MakeToken): { id: number; token: string }[] {
    return this.#tables.transaction(() =>
      Array.from({ length: count }, () => {
        const { lastInsertRowid } = this.#tables
          .sql(`INSERT INTO pilots (site, token_hash, created_at) VALUES (?, x'', ?)`)
          .run(site, now)
        const id = Number(lastInsertRowid)
        const { token, hash } = makeToken(id)
        this.#tables.sql('UPDATE pilots SET token_hash = ? WHERE id = ?').run(hash, id)
        return { id, token }
      }),
    )
  }

  /**
   * Notes which batch job runs each pilot.
   * @returns their sites
   */
  submitted(pilots: readonly { id: number; jobId: string }[], now: number): Map<number, string> {
    const update = this.#tables.sql(
      'UPDATE pilots SET job_id = ?, submitted_at = coalesce(submitted_at, ?) WHERE id = ? RETURNING id, site',
    )
    return this.#tables.transaction(() =>
      toSites(pilots.flatMap(({ id, jobId }) => update.all(jobId, now, id))),
    )
  }

  /** @returns the sites of those that had not ended before */
  end(pilots: readonly { id: number; reason: string }[], now: number): Map<number, string> {
    const update = this.#tables.sql(
      'UPDATE pilots SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL RETURNING id, site',
    )
    return this.#tables.transaction(() =>
      toSites(pilots.flatMap(({ id, reason }) => update.all(now, reason.slice(0, 1000), id))),
    )
  }

  /** How many have not ended. */
  countOpen(): number {
    return this.#tables.sql('SELECT count(*) AS open FROM pilots WHERE ended_at IS NULL').get()!
      .open as number
  }

  /** Those of a site that have not ended. */
  open(site: string): PilotRow[] {
    return this.#tables
      .sql(
        `SELECT id, site, job_id AS jobId, created_at AS createdAt, submitted_at AS submittedAt, registered_at AS registeredAt
         FROM pilots WHERE site = ? AND ended_at IS NULL ORDER BY id`,
      )
      .all(site) as unknown as PilotRow[]
  }

  /** Sites that have pilots that have not ended. */
  sites(): string[] {
    const rows = this.#tables.sql('SELECT DISTINCT site FROM pilots WHERE ended_at IS NULL').all()
    return rows.map(({ site }) => site as string)
  }

  /** A pilot that has not ended, what is kept of its token, and at which start of its job it registered last. */
  find(id: number): { id: number; site: string; tokenHash: Uint8Array; restarts: number } | undefined {
    return this.#tables
      .sql('SELECT id, site, token_hash AS tokenHash, restarts FROM pilots WHERE id = ? AND ended_at IS NULL')
      .get(id) as ReturnType<PilotStore['find']>
  }

  /** Workers that have not ended, of pilots that have not. */
  openWorkers(): WorkerRow[] {
    return this.#tables
      .sql(
        `SELECT workers.id, pilot, site, session_hash AS sessionHash, info, workers.registered_at AS registeredAt
         FROM workers JOIN pilots ON pilots.id = pilot WHERE workers.ended_at IS NULL AND pilots.ended_at IS NULL`,
      )
      .all() as unknown as WorkerRow[]
  }

  /** A pilot's worker registered, at the given start of the pilot's job; tells when the pilot was submitted, too. */
  register(
    worker: { pilot: number; restarts: number; info: string; now: number },
    makeToken: MakeToken,
  ): { id: number; token: string; hash: Uint8Array; submittedAt: number | null } {
    const { pilot, restarts, info, now } = worker
    return this.#tables.transaction(() => {
      const updated = this.#tables
        .sql(
          `UPDATE pilots SET restarts = ?, registered_at = coalesce(registered_at, ?) WHERE id = ?
           RETURNING submitted_at AS submittedAt`,
        )
        .get(restarts, now, pilot)
      const { lastInsertRowid } = this.#tables
        .sql(`INSERT INTO workers (pilot, session_hash, info, registered_at) VALUES (?, x'', ?, ?)`)
        .run(pilot, info, now)
      const id = Number(lastInsertRowid)
      const { token, hash } = makeToken(id)
      this.#tables.sql('UPDATE workers SET session_hash = ? WHERE id = ?').run(hash, id)
      return { id, token, hash, submittedAt: (updated?.submittedAt ?? null) as number | null }
    })
  }

  endWorker(id: number, now: number): void {
    this.#tables.sql('UPDATE workers SET ended_at = ? WHERE id = ?').run(now, id)
  }
}

const toSites = (rows: Record<string, unknown>[]) =>
  new Map(rows.map(({ id, site }) => [id as number, site as string]))

/** The node that a worker ran on, if the worker is known. */
export function nodeOf(tables: Statements, worker: string): string | undefined {
  const row = tables
    .sql(`SELECT info ->> 'node' AS node FROM workers WHERE id = ?`)
    .get(Number(worker.slice(1)))
  return (row?.node as string | null | undefined) ?? undefined
}

/** The number of a pilot or worker, such as `p17`. */
export function numberOf(id: string): number {
  return Number(id.slice(1))
}
