import { randomUUID } from 'node:crypto'
import type { Tables } from './ledger-tables.ts'

/** Random, so that no two ledgers have the same, whatever they were copied from. */
export const newMark = () => randomUUID().slice(0, 18)

/**
 * Epochs: what a job's cursors, and all that was heard of it, belong to. Another one begins when results are taken back, and
 * when an older copy of the ledger is put in place.
 */
export class Epochs {
  readonly #tables: Tables
  /** Of this start. */
  readonly #mark = newMark()

  constructor(tables: Tables) {
    this.#tables = tables
    tables.sql('INSERT INTO epochs (mark) VALUES (?)').run(this.#mark)
  }

  of(job: number): string {
    return `${this.#mark}.${this.#markOf(job)}`
  }

  /** Whether all that was heard of a job in that epoch still holds. */
  holds(job: number, epoch: string): boolean {
    const [start = '', mark] = epoch.split('.')
    return (
      mark === this.#markOf(job) &&
      this.#tables.sql('SELECT 1 FROM epochs WHERE mark = ?').get(start) !== undefined
    )
  }

  #markOf(job: number): string {
    return this.#tables.sql('SELECT mark FROM jobs WHERE id = ?').get(job)?.mark as string
  }
}
