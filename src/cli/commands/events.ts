import type { Command } from 'commander'
import { Option } from 'commander'
import { EVENT_TYPES, EVENTS_AT_ONCE, type EventType, type FactoryEvent } from '../../protocol/events.ts'
import { eventLine } from '../views/events-view.ts'
import { onInterrupt } from '../exit/interrupt.ts'
import { clientFor, wholeNumber } from '../options/common-options.ts'
import { findRecord, openRecords, type Records } from '../job-records.ts'

interface Options {
  follow?: boolean
  job?: string
  site?: string
  type?: EventType[]
  last: number
  after?: number
  json?: boolean
}

/** Left out unless they are asked for: a chart shows them better. */
const PERIODIC: EventType[] = ['sample', 'job-progress']
/** Longest wait for the next event, milliseconds; then it is asked for anew. */
const WAIT_MS = 30_000

export function define(command: Command): void {
  command
    .description(
      'Shows the last events that the factory keeps in its ledger, oldest first; from the factory or, while none runs, from what it ' +
        'has left on record. Samples and the progress of jobs are shown with --json, or if --type names them.',
    )
    .option('-f, --follow', 'go on, with each event as it comes')
    .option('--job <job>', 'only those of a job: its number or its name')
    .option('--site <site>', 'only those of a site')
    .addOption(new Option('--type <types...>', 'only those of these types').choices([...EVENT_TYPES]))
    .option('--last <n>', 'how many to show at most', wholeNumber(0, EVENTS_AT_ONCE), 100)
    .option('--after <cursor>', 'all that came after a cursor of an earlier --json', wholeNumber(0, 1e15))
    .option('--json', 'print each as one line of JSON')
    .action(showEvents)
}

async function showEvents(options: Options, command: Command): Promise<void> {
  const { follow, json, last, after, site } = options
  const types = options.type ?? (json ? undefined : EVENT_TYPES.filter((type) => !PERIODIC.includes(type)))
  using interrupted = onInterrupt()
  await using records = await openRecords(command)
  const job = options.job === undefined ? undefined : (await findRecord(records, options.job)).id
  const print = (event: FactoryEvent) => console.log(json ? JSON.stringify(event) : eventLine(event))
  const filter = { job, site, types }
  let cursor = await showKept(records, { ...filter, last, after }, print)
  if (!follow) return
  await using client = clientFor(command)
  while (!interrupted.aborted) {
    const page = await client.events({ ...filter, after: cursor, waitMs: WAIT_MS, signal: interrupted })
    for (const event of page.events) print(event)
    cursor = page.cursor
  }
}

interface Wanted {
  job: number | undefined
  site: string | undefined
  types: readonly EventType[] | undefined
  last: number
  after: number | undefined
}

/** Prints what is kept; returns the cursor to go on from. */
async function showKept(
  records: Records,
  { last, after, ...filter }: Wanted,
  print: (event: FactoryEvent) => void,
): Promise<number> {
  if (after === undefined) {
    const { events, cursor } = await records.events({ ...filter, last, limit: Math.max(1, last) })
    for (const event of events.slice(0, last)) print(event)
    return cursor
  }
  for (;;) {
    const { events, cursor, more } = await records.events({ ...filter, after, limit: EVENTS_AT_ONCE })
    for (const event of events) print(event)
    after = cursor
    if (!more) return cursor
  }
}
