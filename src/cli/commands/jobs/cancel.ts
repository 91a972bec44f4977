import type { Command } from 'commander'
import { count } from '../../views/format.ts'
import { clientFor, findJob } from '../../options.ts'

export function define(command: Command): void {
  command
    .description('Gives up the tasks of a job that have no result yet. Results that are there stay.')
    .argument('<job>', "the job's number or its name")
    .action(async (wanted: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const job = await findJob(client, wanted)
      const { id, state, tasks, done, failed } = await job.cancel()
      const what = state === 'cancelled' ? 'is cancelled' : 'had ended already'
      console.log(`job ${id} ${what}: ${count(done + failed)} of ${count(tasks)} tasks have results`)
    })
}
