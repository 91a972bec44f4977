import type { Command } from 'commander'
import { count } from '../../views/format.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'
import { clientFor, findJob } from '../../options/common-options.ts'

export function define(command: Command): void {
  command
    .description('Gives up the tasks of a job that have no result yet. Results that are there stay.')
    .argument('<job>', "the job's number or its name")
    .option('--json', 'print the job as JSON')
    .action(async (wanted: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const job = await findJob(client, wanted)
      const cancelled = await job.cancel()
      if (json) return printJson('factory cancel', cancelled)
      const { id, state, tasks, done, failed } = cancelled
      const what = state === 'cancelled' ? 'is cancelled' : 'had ended already'
      console.log(`job ${id} ${what}: ${count(done + failed)} of ${count(tasks)} tasks have results`)
    })
}
