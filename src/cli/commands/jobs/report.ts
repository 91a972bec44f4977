import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { InputError } from '../../../client/errors.ts'
import { EVENTS_AT_ONCE, type FactoryEvent } from '../../../protocol/events.ts'
import { makeReport, timeNodes } from '../../../report/make-report.ts'
import { eventsCsv } from '../../../report/events-csv.ts'
import { reportPage } from '../../../report/report-page.ts'
import { findRecord, openRecords, type Records } from '../../job-records.ts'
import { reportText } from '../../views/report-view.ts'
import { version } from '../../version.ts'

interface Options {
  html?: string
  csv?: string
  parquet?: string
  json?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Shows how a job went, or how it stands, from the events that the factory keeps; from the factory or, while none runs, from ' +
        'what it has left on record.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--html <file>', 'write a page with charts, which needs nothing else')
    .option('--csv <file>', 'write the events of that time as CSV')
    .option('--parquet <file>', 'write the events of that time as Parquet')
    .option('--json', 'print the report as JSON')
    .action(report)
}

async function report(
  wanted: string,
  { html, csv, parquet, json }: Options,
  command: Command,
): Promise<void> {
  await using records = await openRecords(command)
  const job = await findRecord(records, wanted)
  const events = await allEvents(records)
  const nodes = await timeNodes(records.timings(job.id), events)
  const made = makeReport({ job, events, errors: await records.errors(job.id), nodes })
  if (html !== undefined) await write(html, reportPage(made, version))
  const within = events.filter(({ at }) => at >= made.from && at <= made.to)
  if (csv !== undefined) await write(csv, eventsCsv(within))
  if (parquet !== undefined) {
    const { eventsParquet } = await import('../../../report/events-parquet.ts')
    await write(parquet, eventsParquet(within))
  }
  console.log(json ? JSON.stringify(made, null, 2) : reportText(made))
  for (const file of [html, csv, parquet]) if (file !== undefined && !json) console.log(`\nwrote ${file}`)
}

async function allEvents(records: Records): Promise<FactoryEvent[]> {
  const all: FactoryEvent[] = []
  for (let after = 0; ;) {
    const { events, cursor, more } = await records.events({ after, limit: EVENTS_AT_ONCE })
    all.push(...events)
    if (!more) return all
    after = cursor
  }
}

async function write(file: string, text: string | Uint8Array): Promise<void> {
  await writeFile(file, text).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(
      `${file} cannot be written: ${error.code === 'ENOENT' ? 'there is no such folder' : error.message}`,
    )
  })
}
