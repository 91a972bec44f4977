import type { ContextSpec } from '../../protocol/contexts/context.ts'
import type { Ledger } from './ledger.ts'

/* The contexts that were ever added, as the ledger has them, and what is called by which name now. */

/** @param keepMs how long it stays when no job needs it; absent: it stays */
export function addContext(
  ledger: Ledger,
  context: ContextSpec,
  now: number,
  keepMs?: number,
): Promise<void> {
  return ledger.commits.write(() => {
    ledger
      .sql(
        `INSERT INTO contexts VALUES (?, ?, ?, ?, ?) ON CONFLICT (id)
         DO UPDATE SET added_at = excluded.added_at, keep_ms = excluded.keep_ms`,
      )
      .run(context.id, context.name, JSON.stringify(context), now, keepMs ?? null)
    ledger
      .sql(
        'INSERT INTO context_names VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET context = excluded.context',
      )
      .run(context.name, context.id)
  })
}

/** All contexts ever added, and the names that stand for some of them. */
export function knownContexts(ledger: Ledger): { specs: ContextSpec[]; names: Map<string, string> } {
  const specs = ledger.sql('SELECT spec FROM contexts').all() as { spec: string }[]
  const names = ledger.sql('SELECT name, context FROM context_names').all() as {
    name: string
    context: string
  }[]
  return {
    specs: specs.map(({ spec }) => JSON.parse(spec) as ContextSpec),
    names: new Map(names.map(({ name, context }) => [name, context])),
  }
}

/** A context that has a name and may go in time. Times are milliseconds. */
export interface TemporaryContext {
  name: string
  id: string
  keepMs: number
  /** When it, or the last job in it, was made. */
  usedAt: number
}

export function temporaryContexts(ledger: Ledger): TemporaryContext[] {
  const rows = ledger
    .sql(
      `SELECT context_names.name, id, keep_ms AS keepMs, max(added_at, ifnull(made_at, 0)) AS usedAt
       FROM context_names JOIN contexts ON id = context_names.context
       LEFT JOIN (SELECT context, max(created_at) AS made_at FROM jobs GROUP BY context) AS made ON made.context = id
       WHERE keep_ms IS NOT NULL`,
    )
    .all()
  return rows as unknown as TemporaryContext[]
}

/** Takes a context's name. Jobs that were made in it still know what it was. */
export function forgetName(ledger: Ledger, name: string): Promise<void> {
  return ledger.commits.write(() => void ledger.sql('DELETE FROM context_names WHERE name = ?').run(name))
}
