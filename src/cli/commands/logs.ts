import type { Command } from 'commander'
import type { TaskLog } from '../../protocol/client.ts'
import { duration } from '../format.ts'
import { clientFor, findJob } from '../options.ts'

export function addLogs(program: Command): void {
  program
    .command('logs')
    .summary('show what a task printed')
    .description(
      'Shows the end of what a task that has a result printed, on standard output, and what became of it, on standard error.',
    )
    .argument('<job>', "the job's number or its name")
    .argument('<key>', 'the task\'s key: its field "id", or its line number')
    .action(async (wanted: string, key: string, _options: object, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const job = await findJob(client, wanted)
      const task = await job.log(key)
      if (task.log !== undefined) process.stdout.write(task.log.replace(/\n?$/, '\n'))
      console.error(summary(task))
    })
}

function summary({ status, error, worker, node, ms, log }: TaskLog): string {
  if (status === 'queued') return 'it has no result yet'
  const printed = log === undefined ? ', and printed nothing' : ''
  const where = `on worker ${worker}${node === undefined ? '' : ` (${node})`}, after ${duration(ms ?? 0)}`
  return `${status} ${where}${error ? `: ${error.name}: ${error.message}` : ''}${printed}`
}
