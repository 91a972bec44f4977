import type { Command } from 'commander'
import { errorLines } from '../errors-view.ts'
import { clientFor, findJob } from '../options.ts'

export function addErrors(program: Command): void {
  program
    .command('errors')
    .summary('show in what ways the tasks of a job failed')
    .description(
      'Shows the commonest errors of a job, how many tasks failed like that, and one of them. Errors that differ only in numbers ' +
        'and quoted texts count as one.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--json', 'print them as JSON')
    .action(async (wanted: string, { json }: { json?: boolean }, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const job = await findJob(client, wanted)
      const errors = await job.errors()
      if (json) console.log(JSON.stringify(errors, null, 2))
      else
        console.log(errors.failed === 0 ? 'no task failed' : errorLines(errors, job.id, Infinity).join('\n'))
    })
}
