import type { CreateKeyRequest, CreateKeyResponse, KeyInfo } from '../../protocol/client.ts'
import { conflict, notFound } from '../http/api-errors.ts'
import type { KeyRow } from '../ledger/key-store.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { makeToken, matches, ownerOf } from './tokens.ts'

/** What a bearer of a token may do with the OpenAI API. */
export interface Access {
  /** Number of the key; undefined for the user's own token. */
  key?: number
  /** The only models that it may use; undefined for all. */
  models?: readonly string[]
  readOnly: boolean
}

/** What the user's own token may do: everything. */
export const FULL_ACCESS: Access = { readOnly: false }

/** Keys of the OpenAI API: the user makes them, for programs and people who are to use models and nothing else. */
export class ApiKeys {
  readonly #ledger: Ledger
  readonly #now: () => number
  #rows: Map<number, KeyRow>
  /** What is under way with each key. */
  readonly #underWay = new Map<number, Set<() => void>>()

  constructor(ledger: Ledger, now: () => number) {
    this.#ledger = ledger
    this.#now = now
    this.#rows = this.#read()
  }

  /** @throws {RequestError} 409 if there is, or was, a key of that name */
  create({ name, models, readOnly = false }: CreateKeyRequest): CreateKeyResponse {
    if (this.#rows.values().some((row) => row.name === name))
      throw conflict(`there is, or was, a key named "${name}": give the new one another name`)
    const row = { name, models: models ?? null, readOnly, createdAt: this.#now() }
    const key = this.#ledger.keys.add(row, (number) => makeToken(`key${number}`))
    this.#rows = this.#read()
    return { ...infoOf({ ...row, revokedAt: null }), key }
  }

  list(): KeyInfo[] {
    return [...this.#rows.values()].map(infoOf)
  }

  /** From now on, the key opens nothing. @throws {RequestError} 404 */
  revoke(name: string): KeyInfo {
    this.#ledger.keys.revoke(name, this.#now())
    this.#rows = this.#read()
    const row = this.#rows.values().find((row) => row.name === name)
    if (!row) throw notFound(`there is no key "${name}"; \`factory key list\` lists them`)
    for (const end of this.#underWay.get(row.id) ?? []) end()
    return infoOf(row)
  }

  /**
   * Has what is under way with a key ended when the key is revoked.
   *
   * @param end called once, if it comes to that
   * @returns to be called when it has ended by itself
   */
  endWhenRevoked({ key }: Access, end: () => void): () => void {
    if (key === undefined) return () => {}
    const ends = this.#underWay.get(key) ?? new Set()
    this.#underWay.set(key, ends.add(end))
    return () => {
      ends.delete(end)
      if (ends.size === 0 && this.#underWay.get(key) === ends) this.#underWay.delete(key)
    }
  }

  /** What a token opens; undefined if it is no valid key. */
  accessOf(token: string): Access | undefined {
    const number = /^key([0-9]{1,15})$/.exec(ownerOf(token) ?? '')?.[1]
    const row = number === undefined ? undefined : this.#rows.get(Number(number))
    if (!row || row.revokedAt !== null || !matches(token, row.hash)) return undefined
    return { key: row.id, ...(row.models && { models: row.models }), readOnly: row.readOnly }
  }

  #read(): Map<number, KeyRow> {
    return new Map(this.#ledger.keys.all().map((row) => [row.id, row]))
  }
}

function infoOf({ name, models, readOnly, createdAt, revokedAt }: Omit<KeyRow, 'id' | 'hash'>): KeyInfo {
  return { name, ...(models && { models }), readOnly, createdAt, ...(revokedAt !== null && { revokedAt }) }
}
