import type { Logger } from 'pino'
import type { JobErrors, JobInfo, ResultRow, TaskLog, TaskRow } from '../../protocol/client.ts'
import type { JsonValue } from '../../protocol/primitives.ts'
import type { EventsResponse, FactoryEvent } from '../../protocol/events.ts'
import { parseExactly } from '../../protocol/json/exact-numbers.ts'
import type { EventFilter } from './event-log.ts'
import { ErrorTally } from '../services/jobs/job-errors.ts'
import { knownContexts } from './context-records.ts'
import type { JobRow } from './job-store.ts'
import { Ledger } from './ledger.ts'
import type { StoredResult, StoredRows } from './result-store.ts'

/** Results that are read at once. */
const PAGE = 1_000

/** A ledger that no factory runs on, to look things up in. */
export interface LedgerReader extends AsyncDisposable {
  jobs(): Promise<JobInfo[]>
  results(job: number): Iterable<ResultRow>
  /** Its tasks in the order in which they were added. */
  rows(job: number): Iterable<TaskRow>
  errors(job: number): Promise<JobErrors>
  log(job: number, key: string): Promise<TaskLog>
  events(
    query: EventFilter & { after?: number | undefined; last?: number | undefined; limit: number },
  ): Promise<EventsResponse>
}

/** @throws {LedgerLockedError} if a factory has just started on it */
export function readLedger(file: string, log: Logger): LedgerReader {
  const ledger = new Ledger(file, log)
  const names = new Map(knownContexts(ledger).specs.map(({ id, name }) => [id, name]))
  const info = (row: JobRow): JobInfo => {
    const { id, name, context, function: fn, closed, cancelled, retried, createdAt, traceparent } = row
    const { tasks, done, failed } = ledger.jobs.counts(id)
    const state = cancelled ? 'cancelled' : closed && done + failed === tasks ? 'finished' : 'open'
    const called = names.get(context) ?? context.slice(0, 12)
    return {
      id,
      name,
      context: called,
      contextId: context,
      function: fn,
      state,
      closed,
      tasks,
      done,
      failed,
      retried,
      createdAt,
      traceparent,
    }
  }
  return {
    jobs: () => Promise.resolve(ledger.jobs.list().map(info)),
    *results(job) {
      for (let after = 0; ;) {
        const page = ledger.results.page(job, after, PAGE)
        for (const row of page) yield withValue(row)
        after = page.at(-1)?.cursor ?? after
        if (page.length === 0) return
      }
    },
    *rows(job) {
      for (let after: number | undefined = 0; after !== undefined;) {
        const page: StoredRows = ledger.results.rows(job, after, PAGE)
        for (const { input, result, ...row } of page.rows)
          yield {
            ...row,
            ...(input && { input: parseExactly(input.text) as JsonValue }),
            ...(result && { result: withValue(result) }),
          }
        after = page.next
      }
    },
    errors: (job) => new ErrorTally(ledger, job, ledger.jobs.traceparent(job)).read(),
    log(job, key) {
      const found = ledger.results.log(job, key)
      return found ? Promise.resolve(found) : Promise.reject(new Error(`job ${job} has no task "${key}"`))
    },
    events({ after, last, limit, ...filter }) {
      const from = after ?? (last === undefined ? 0 : ledger.events.before(last, filter))
      const { events, ...rest } = ledger.events.read({ ...filter, after: from, limit })
      return Promise.resolve({
        ...rest,
        events: events.map(({ text }) => JSON.parse(text) as FactoryEvent),
      })
    },
    [Symbol.asyncDispose]: () => ledger.close(),
  }
}

/** A result whose value's numbers keep their text. */
function withValue({ value, ...row }: StoredResult): ResultRow {
  return { ...row, ...(value && { value: parseExactly(value.text) as JsonValue }) }
}
