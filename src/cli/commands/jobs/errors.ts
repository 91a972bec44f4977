import type { Command } from 'commander'
import { errorLines } from '../../views/errors-view.ts'
import { findRecord, openRecords } from '../../job-records.ts'

export function define(command: Command): void {
  command
    .description(
      'Shows the commonest errors of a job, how many tasks failed like that, and one of them. Errors that differ only in numbers ' +
        'and quoted texts count as one.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--json', 'print them as JSON')
    .action(async (wanted: string, { json }: { json?: boolean }, command: Command) => {
      await using records = await openRecords(command)
      const job = await findRecord(records, wanted)
      const errors = await records.errors(job.id)
      if (json) console.log(JSON.stringify(errors, null, 2))
      else
        console.log(errors.failed === 0 ? 'no task failed' : errorLines(errors, job.id, Infinity).join('\n'))
    })
}
