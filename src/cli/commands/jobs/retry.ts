import type { Command } from 'commander'
import { plural } from '../../views/format.ts'
import type { JobInfo } from '../../../protocol/client.ts'
import { printJson, type JsonOption } from '../../json-output/print-json.ts'
import { clientFor, findJob } from '../../options/common-options.ts'

export function define(command: Command): void {
  command
    .description(
      'Runs the tasks of a job that failed again; of a job that was cancelled, also those that had not run. A "factory run" of the ' +
        'job, given again, writes its output anew; "factory run --retry-failed" does both.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--json', 'print how many run again, and the job, as JSON')
    .action(async (wanted: string, { json }: JsonOption, command: Command) => {
      await using client = clientFor(command, { patienceMs: 0 })
      const answer = await (await findJob(client, wanted)).retry()
      if (json) return printJson('factory retry', answer)
      console.log(`job ${answer.job.id}: ${describeRetry(answer)}`)
    })
}

type Retried = { retried: number; job: Pick<JobInfo, 'tasks' | 'done' | 'failed'> }

/** What runs again, for the user. */
export function describeRetry({ retried, job }: Retried): string {
  const left = job.tasks - job.done - job.failed - retried
  if (retried === 0) {
    return left > 0
      ? `none of its tasks has failed; ${plural(left, 'task')} without a result ${left === 1 ? 'runs' : 'run'}`
      : 'none of its tasks has failed: there is nothing to run again'
  }
  const rest = left > 0 ? `, and ${plural(left, 'task')} that had no result yet` : ''
  return `${plural(retried, 'task')} that had failed ${retried === 1 ? 'runs' : 'run'} again${rest}`
}
