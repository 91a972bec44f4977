import type { Command } from 'commander'
import { InputError } from '../../client/index.ts'
import { count } from '../format.ts'
import { clientFor } from '../options.ts'

export function addCancel(program: Command): void {
  program
    .command('cancel')
    .summary('give up the tasks of a job that have no result yet')
    .description('Gives up the tasks of a job that have no result yet. Results that are there stay.')
    .argument('<job>', "the job's number or its name")
    .action(async (wanted: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const found = (await client.jobs()).find(({ id, name }) => String(id) === wanted || name === wanted)
      if (!found) throw new InputError(`there is no job ${wanted}: "factory jobs" lists them`)
      const { id, tasks, done, failed } = await client.job(found.id).cancel()
      console.log(`job ${id} is cancelled: ${count(done + failed)} of ${count(tasks)} tasks have results`)
    })
}
