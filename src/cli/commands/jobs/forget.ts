import type { Command } from 'commander'
import { count } from '../../views/format.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'
import { clientFor, findJob } from '../../options/common-options.ts'

export function define(command: Command): void {
  command
    .description(
      'Deletes a job that has ended from the ledger, with its tasks, results and logs. What "factory run" has written stays. ' +
        'The room in the ledger is used again; the file does not shrink.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--json', 'print the job as JSON')
    .action(async (wanted: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const job = await findJob(client, wanted)
      const forgotten = await job.forget()
      if (json) return printJson('factory forget', forgotten)
      const { id, tasks } = forgotten
      console.log(`job ${id} is forgotten, with ${count(tasks)} tasks`)
    })
}
