import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import { errorLines } from '../../views/errors-view.ts'
import { exitCodes } from '../../exit/exit-codes.ts'
import { count, duration, plural } from '../../views/format.ts'
import { onInterrupt } from '../../exit/interrupt.ts'
import { findRecord, openRecords, type Records } from '../../job-records.ts'
import { traceText } from '../../views/trace-view.ts'
import { jobsTable } from '../../views/status-view.ts'
import type { JobErrors, JobInfo } from '../../../client/index.ts'

/** Time between two looks at a job that is waited for, milliseconds. */
const LOOK_MS = 1_000
/** Kinds of error that are shown. */
const ERRORS_SHOWN = 5

export function define(jobs: Command): void {
  jobs
    .command('list', { isDefault: true })
    .summary('list jobs')
    .description('Lists jobs, from the factory or, while none runs, from what it has left on record.')
    .option('--json', 'print them as JSON')
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      await using records = await openRecords(command)
      const all = await records.jobs()
      console.log(json ? JSON.stringify(all, null, 2) : jobsTable(all))
    })
  jobs
    .command('show')
    .summary('show how a job stands')
    .description(
      'Shows how a job stands and in what ways its tasks failed. With --wait, when it has ended; exits with 1 if a task failed.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--wait', 'wait until it has ended')
    .option('--json', 'print it as JSON')
    .action(show)
}

async function show(
  wanted: string,
  { wait, json }: { wait?: boolean; json?: boolean },
  command: Command,
): Promise<void> {
  using interrupted = onInterrupt()
  const look = async () => {
    await using records = await openRecords(command)
    return await read(records, wanted)
  }
  let found = await look()
  while (wait && found.job.state === 'open') {
    await delay(LOOK_MS, undefined, { signal: interrupted }).catch(() => interrupted.throwIfAborted())
    found = await look()
  }
  console.log(json ? JSON.stringify(found, null, 2) : text(found))
  if (wait && (found.job.failed > 0 || found.job.state === 'cancelled')) process.exitCode = exitCodes.failed
}

async function read(records: Records, wanted: string): Promise<{ job: JobInfo; errors: JobErrors }> {
  const job = await findRecord(records, wanted)
  return { job, errors: await records.errors(job.id) }
}

function text({ job, errors }: { job: JobInfo; errors: JobErrors }): string {
  const {
    id,
    name,
    context,
    function: fn,
    state,
    tasks,
    done,
    failed,
    retried,
    problem,
    doubt,
    createdAt,
    traceparent,
  } = job
  const left = tasks - done - failed
  const lines = [
    `job ${id} (${name}) ${problem === undefined ? `is ${state}` : 'is stuck'}`,
    `  runs      ${fn} of context ${context}`,
    `  tasks     ${count(tasks)}: ${count(done)} done, ${count(failed)} failed, ${count(left)} without a result`,
    `  made      ${new Date(createdAt).toLocaleString('sv-SE')}, ${duration(Math.max(0, Date.now() - createdAt))} ago`,
    ...traceText(traceparent).map((text) => `  trace     ${text}`),
    ...(retried > 0 ? [`  retried   ${plural(retried, 'task')}`] : []),
    ...[problem, doubt].flatMap((trouble) => (trouble === undefined ? [] : [`  ${trouble}`])),
    ...(state === 'open' && left > 0 ? [`  "factory explain ${id}" says why it is not finished`] : []),
  ]
  return [...lines, ...(failed > 0 ? errorLines(errors, id, ERRORS_SHOWN) : [])].join('\n')
}
