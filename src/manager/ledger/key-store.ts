import type { MakeToken } from './pilot-store.ts'
import type { Tables } from './ledger-tables.ts'

/** A key of the OpenAI API. Times are milliseconds since 1970. */
export interface KeyRow {
  id: number
  name: string
  /** SHA-256 of the key. */
  hash: Uint8Array
  /** The models that it may use; null for all. */
  models: string[] | null
  readOnly: boolean
  createdAt: number
  revokedAt: number | null
}

/** Keys of the OpenAI API. They are few, and what is written here is durable on return. */
export class KeyStore {
  readonly #tables: Tables

  constructor(tables: Tables) {
    this.#tables = tables
  }

  all(): KeyRow[] {
    const rows = this.#tables.sql('SELECT * FROM api_keys ORDER BY id').all()
    return rows.map((row) => ({
      id: row.id as number,
      name: row.name as string,
      hash: row.hash as Uint8Array,
      models: row.models === null ? null : (JSON.parse(row.models as string) as string[]),
      readOnly: row.read_only === 1,
      createdAt: row.created_at as number,
      revokedAt: row.revoked_at as number | null,
    }))
  }

  /** Adds a key, and returns its token. */
  add(key: Pick<KeyRow, 'name' | 'models' | 'readOnly' | 'createdAt'>, makeToken: MakeToken): string {
    return this.#tables.transaction(() => {
      const { lastInsertRowid } = this.#tables
        .sql(`INSERT INTO api_keys (name, hash, models, read_only, created_at) VALUES (?, x'', ?, ?, ?)`)
        .run(key.name, key.models && JSON.stringify(key.models), Number(key.readOnly), key.createdAt)
      const { token, hash } = makeToken(Number(lastInsertRowid))
      this.#tables.sql('UPDATE api_keys SET hash = ? WHERE id = ?').run(hash, lastInsertRowid)
      return token
    })
  }

  revoke(name: string, now: number): void {
    this.#tables.sql('UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?').run(now, name)
  }
}
