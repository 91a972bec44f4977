import type { ResultRow } from '../../src/protocol/client.ts'

/** What clients and workers know for themselves: the ledger must agree with it. */
export class SoakRecord {
  /** Keys of each job whose addition the manager has acknowledged. */
  readonly acknowledged = new Map<string, Set<string>>()
  /** Rows in the order in which a client read them while the manager was being killed. */
  readonly read = new Map<string, ResultRow[]>()
  /** Every value that some worker computed, by key. */
  readonly computed = new Map<string, Set<string>>()
  /** Values that were acknowledged to their worker before any other worker had one. */
  readonly settled = new Map<string, string>()
  /** Results that were acknowledged. */
  results = 0

  acknowledge(job: string, keys: string[]): void {
    const known = this.acknowledged.get(job) ?? new Set()
    for (const key of keys) known.add(key)
    this.acknowledged.set(job, known)
  }

  compute(key: string, value: string): void {
    const values = this.computed.get(key) ?? new Set()
    this.computed.set(key, values.add(value))
  }

  /** The exchange that reported this value was answered. */
  settle(key: string, value: string): void {
    this.results++
    if (this.computed.get(key)?.size === 1) this.settled.set(key, value)
  }

  /** Tasks that more than one worker computed, because a lease lapsed. */
  get twice(): number {
    return [...this.computed.values()].filter((values) => values.size > 1).length
  }
}

/** What is wrong with a job's feed, as read anew, if anything. */
export function compare(record: SoakRecord, job: string, first: ResultRow[], second: ResultRow[]): string[] {
  const problems: string[] = []
  const acknowledged = record.acknowledged.get(job) ?? new Set()
  const keys = new Set(first.map(({ key }) => key))
  const lost = [...acknowledged].filter((key) => !keys.has(key))
  if (lost.length > 0) problems.push(`${job}: ${lost.length} acknowledged tasks have no result: ${lost[0]}`)
  if (keys.size < first.length) problems.push(`${job}: ${first.length - keys.size} results are doubled`)
  const strange = first.filter(({ key, value }) => !record.computed.get(key)?.has(value as string))
  if (strange.length > 0) {
    problems.push(`${job}: ${strange.length} results that no worker computed: ${strange[0]?.key}`)
  }
  const replaced = first.filter(({ key, value }) => (record.settled.get(key) ?? value) !== value)
  if (replaced.length > 0) {
    problems.push(`${job}: ${replaced.length} acknowledged results were replaced: ${replaced[0]?.key}`)
  }
  if (text(first) !== text(second)) problems.push(`${job}: the feed differs when it is read again`)
  if (text(first) !== text(record.read.get(job) ?? [])) {
    problems.push(`${job}: the feed differs from what was read while the manager was being killed`)
  }
  return problems
}

const text = (rows: ResultRow[]) => JSON.stringify(rows.map(({ cursor, key, value }) => [cursor, key, value]))
