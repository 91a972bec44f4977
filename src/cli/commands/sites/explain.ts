import type { Command } from 'commander'
import { InputError, NotRunningError } from '../../../client/errors.ts'
import { latestRun } from '../../../client/run/run-identity.ts'
import type { JobExplanation, SiteExplanation } from '../../../protocol/explanation.ts'
import { explanationText } from '../../views/explanation-view.ts'
import { clientFor, stateOf } from '../../options/common-options.ts'
import { findRecord, openRecords } from '../../job-records.ts'

export function define(command: Command): void {
  command
    .description(
      'Says in sentences why a job, or one task of it, is not running or not finished, or why a site has the pilots it has and no ' +
        'more: from what scheduler and factory decided last, and what the batch system says.',
    )
    .argument('<job or site>', 'a job, by its number or its name, or a site')
    .argument('[key]', 'a task of that job: its field "id", or its line number')
    .option('--json', 'print it as JSON')
    .action(
      async (wanted: string, key: string | undefined, { json }: { json?: boolean }, command: Command) => {
        const found = await explain(wanted, key, command)
        if (json) console.log(JSON.stringify(found.length === 1 ? found[0] : found, null, 2))
        else console.log(found.map(explanationText).join('\n\n'))
      },
    )
}

/** What is known of a job or site of that name, or of both. */
async function explain(
  wanted: string,
  key: string | undefined,
  command: Command,
): Promise<(JobExplanation | SiteExplanation)[]> {
  await using client = clientFor(command, { patienceMs: 0 })
  try {
    const [{ sites }, jobs] = await Promise.all([client.status(), client.jobs()])
    const isSite = key === undefined && sites.some(({ name }) => name === wanted)
    const job = jobs.find(({ id }) => String(id) === wanted) ?? latestRun(jobs, wanted).latest
    if (!job && !isSite) throw unknown(wanted, key)
    const about: Promise<JobExplanation | SiteExplanation>[] = []
    if (isSite) about.push(client.explainSite(wanted))
    if (job) about.push(client.job(job.id).explain({ key }))
    return await Promise.all(about)
  } catch (error) {
    if (error instanceof NotRunningError) return [await explainStandstill(wanted, error, command)]
    throw error
  }
}

function unknown(wanted: string, key: string | undefined): InputError {
  const lists =
    key === undefined ? ', and no site of that name: "factory jobs" and "factory sites" list them' : ''
  return new InputError(`there is no job ${wanted}${lists || ': "factory jobs" lists them'}`)
}

/** Nothing runs while no factory does. */
async function explainStandstill(
  wanted: string,
  error: NotRunningError,
  command: Command,
): Promise<JobExplanation> {
  await using records = await openRecords(command)
  const { id, name, state, done, failed, tasks } = await findRecord(records, wanted)
  const summary = `job ${id} (${name}) is ${state}: ${done} of ${tasks} tasks are done, ${failed} failed`
  const text = `No factory runs on ${stateOf(command)}, so nothing of it can run.`
  const reasons = state === 'open' ? [{ code: 'no-factory', text, advice: error.message }] : []
  return { job: id, summary, reasons }
}
