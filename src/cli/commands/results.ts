import { once } from 'node:events'
import type { Command } from 'commander'
import { toLine } from '../../client/run/output.ts'
import { findRecord, openRecords } from '../records.ts'

export function addResults(program: Command): void {
  program
    .command('results')
    .summary('print the results of a job')
    .description(
      'Prints the results that a job has, one line each, as "factory run" writes them. Also while no factory runs.',
    )
    .argument('<job>', "the job's number or its name")
    .action(async (wanted: string, _options: object, command: Command) => {
      await using records = await openRecords(command)
      const { id } = await findRecord(records, wanted)
      for await (const row of records.results(id)) {
        if (!process.stdout.write(toLine(row))) await once(process.stdout, 'drain')
      }
    })
}
