import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { pino } from 'pino'
import type { EventsOptions, EventsResponse, JobErrors, JobInfo, ResultRow } from '../client/index.ts'
import { InputError, NotRunningError } from '../client/errors.ts'
import { latestRun } from '../client/run/run-identity.ts'
import type { TaskLog, TaskRow } from '../protocol/client.ts'
import type { Timing } from '../report/make-report.ts'
import { clientFor, stateOf } from './options/common-options.ts'

/** Results that are read at once if their values are of no interest. */
const TIMINGS_AT_ONCE = 10_000

/** What the factory has on record of its jobs; from the factory, or else, while none runs, from the ledger itself. */
export interface Records extends AsyncDisposable {
  jobs(): Promise<JobInfo[]>
  results(job: number): AsyncIterable<ResultRow> | Iterable<ResultRow>
  /** A job's tasks in the order in which they were added, with inputs and results; numbers keep their texts. */
  rows(job: number): AsyncIterable<TaskRow> | Iterable<TaskRow>
  /** What results took where, without their values. */
  timings(job: number): AsyncIterable<Timing> | Iterable<Timing>
  errors(job: number): Promise<JobErrors>
  log(job: number, key: string): Promise<TaskLog>
  /** A page of what happened. */
  events(options: Omit<EventsOptions, 'waitMs'> & { limit: number }): Promise<EventsResponse>
}

/** The records of a command's state folder. @throws NotRunningError if neither a factory nor a ledger is there */
export async function openRecords(command: Command): Promise<Records> {
  const client = clientFor(command, { patienceMs: 0 })
  try {
    const jobs = await client.jobs()
    return {
      jobs: () => Promise.resolve(jobs),
      results: (job) => presentResults(client.job(job).pages({ exact: true, waitMs: 0 })),
      rows: (job) => client.job(job).rows(),
      timings: (job) =>
        presentResults(client.job(job).pages({ waitMs: 0, limit: TIMINGS_AT_ONCE, values: false })),
      errors: (job) => client.job(job).errors(),
      log: (job, key) => client.job(job).log(key),
      events: (options) => client.events(options),
      [Symbol.asyncDispose]: () => client.close(),
    }
  } catch (error) {
    await client.close()
    const file = join(stateOf(command), 'ledger.db')
    const isThere = await access(file).then(
      () => true,
      () => false,
    )
    if (!(error instanceof NotRunningError) || !isThere) throw error
    // Loaded here, so that the other commands need not wait for it.
    const { readLedger } = await import('../manager/ledger/read-ledger.ts')
    const ledger = readLedger(file, pino({ level: 'silent' }))
    return { ...ledger, timings: (job) => ledger.results(job) }
  }
}

async function* presentResults(pages: AsyncIterable<{ results: ResultRow[] }>) {
  for await (const { results } of pages) {
    if (results.length === 0) return
    yield* results
  }
}

/** The job of that number, or the latest one of that name. @throws InputError if there is none */
export async function findRecord(records: Records, wanted: string): Promise<JobInfo> {
  const jobs = await records.jobs()
  const found = jobs.find(({ id }) => String(id) === wanted) ?? latestRun(jobs, wanted).latest
  if (!found) throw new InputError(`there is no job ${wanted}: "factory jobs" lists them`)
  return found
}
