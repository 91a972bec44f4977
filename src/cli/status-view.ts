import type { JobInfo, Status } from '../client/index.ts'
import { count, duration, rate, size, table } from './format.ts'

/** The status of a factory as text for a terminal. */
export function statusText(status: Status, state: string): string {
  const sections = [
    summary(status, state),
    section(status.jobs, jobsTable),
    section(status.sites, sitesTable),
    section(status.workers, workersTable),
    section(status.contexts, contextsTable),
  ]
  return sections.filter((text) => text !== undefined).join('\n\n')
}

const section = <T>(rows: T[], render: (rows: T[]) => string) => (rows.length > 0 ? render(rows) : undefined)

function summary(status: Status, state: string): string {
  const { tasks } = status
  const lines = [
    `factory ${status.version} on ${state}, up ${duration(status.now - status.startedAt)}`,
    `tasks: ${count(tasks.queued)} queued, ${count(tasks.leased)} running, ${count(tasks.done)} done, ` +
      `${count(tasks.failed)} failed; ${rate(status.rate)}/s`,
  ]
  if (status.evictions > 0) {
    lines.push(
      `evictions: ${count(status.evictions)}, which gave ${count(status.requeued)} tasks back to the queue`,
    )
  }
  return lines.join('\n')
}

export function jobsTable(jobs: JobInfo[]): string {
  const rows = jobs.map(({ id, name, context, state, done, failed, tasks, problem }) => [
    String(id),
    name,
    context,
    problem ? `${state}: ${problem}` : state,
    count(done),
    count(failed),
    count(tasks),
  ])
  return table(['JOB', 'NAME', 'CONTEXT', 'STATE', 'DONE', 'FAILED', 'TASKS'], rows)
}

function sitesTable(sites: Status['sites']): string {
  const rows = sites.map((site) => [
    site.name,
    site.kind,
    site.policy,
    count(site.wanted),
    count(site.pending),
    count(site.running),
    count(site.held),
    [site.paused, ...site.reasons.map(({ reason, pilots }) => `${pilots}: ${reason}`)]
      .filter(Boolean)
      .join('; '),
  ])
  return table(['SITE', 'KIND', 'POLICY', 'WANTED', 'PENDING', 'RUNNING', 'HELD', 'WHY'], rows)
}

function workersTable(workers: Status['workers']): string {
  const rows = workers.map((worker) => [
    worker.id,
    worker.site,
    worker.node,
    worker.state,
    `${rate(worker.rate)}/s`,
    count(worker.leased),
    worker.contexts.map(contextOnWorker).join(', '),
  ])
  return table(['WORKER', 'SITE', 'NODE', 'STATE', 'RATE', 'TASKS', 'CONTEXTS'], rows)
}

function contextOnWorker({
  context,
  level,
  doing,
  bytesHeld,
  bytesTotal,
  error,
}: Status['workers'][number]['contexts'][number]) {
  if (error) return `${context} failed: ${error.message}`
  if (doing === 'fetching' && bytesTotal)
    return `${context} fetching ${size(bytesHeld ?? 0)} of ${size(bytesTotal)}`
  return `${context} ${doing ?? level}`
}

function contextsTable(contexts: Status['contexts']): string {
  const rows = contexts.map(({ context, loads, fetchMs, loadMs, inferences, inferenceMs }) => [
    context,
    count(loads),
    duration(fetchMs),
    duration(loadMs),
    count(inferences),
    duration(inferenceMs),
  ])
  return table(['CONTEXT', 'LOADS', 'FETCHING', 'LOADING', 'INFERENCES', 'INFERRING'], rows)
}
