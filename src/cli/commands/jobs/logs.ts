import type { Command } from 'commander'
import { InputError } from '../../../client/errors.ts'
import type { TaskLog } from '../../../protocol/client.ts'
import { duration } from '../../views/format.ts'
import { traceText } from '../../views/trace-view.ts'
import { findRecord, openRecords } from '../../job-records.ts'
import { showPilotLog } from '../../pilot-log.ts'

interface Options {
  pilot?: string
  worker?: string
  follow?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Shows the end of what a task that has a result printed, on standard output, and what became of it, on standard error; with ' +
        '--pilot, what a pilot and its worker have said.',
    )
    .argument('[job]', "the job's number or its name")
    .argument('[key]', 'the task\'s key: its field "id", or its line number')
    .option('--pilot <pilot>', "show the log of a pilot, or of a worker's pilot, such as p3 or w3")
    .option('--worker <worker>', "show the log of a worker's pilot, such as w3")
    .option('--follow', 'with --pilot or --worker: go on printing what is added, until Ctrl-C')
    .action(
      async (wanted: string | undefined, key: string | undefined, options: Options, command: Command) => {
        const pilot = options.pilot ?? options.worker
        if (pilot !== undefined) return await showPilotLog(pilot, options.follow ?? false, command)
        if (options.follow) throw new InputError('--follow is for the log of a pilot: name one with --pilot')
        if (wanted === undefined || key === undefined)
          throw new InputError('name a job and the key of one of its tasks, or a pilot with --pilot')
        await using records = await openRecords(command)
        const { id } = await findRecord(records, wanted)
        const task = await records.log(id, key)
        if (task.log !== undefined) process.stdout.write(task.log.replace(/\n?$/, '\n'))
        console.error(summary(task))
      },
    )
}

function summary(task: TaskLog): string {
  return [ending(task), ...traceText(task.traceparent).map((text) => `trace ${text}`)].join('\n')
}

function ending({ status, error, worker, node, ms, log }: TaskLog): string {
  if (status === 'queued') return 'it has no result yet'
  const printed = log === undefined ? ', and printed nothing' : ''
  const where = `on worker ${worker}${node === undefined ? '' : ` (${node})`}, after ${duration(ms ?? 0)}`
  return `${status} ${where}${error ? `: ${error.name}: ${error.message}` : ''}${printed}`
}
