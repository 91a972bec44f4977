import type { JobInfo, Status } from '../client/index.ts'
import {
  cell,
  count,
  duration,
  isLong,
  plural,
  rate,
  size,
  table,
  tableWithNotes,
  timeOfDay,
} from './format.ts'

/** Levels at which a worker can hold a context, the warmest first. */
const LEVELS = ['device', 'memory', 'disk'] as const
/** Sources of one fetch that are named; the others are summed up. */
const SOURCES_SHOWN = 4

/** The status of a factory as text for a terminal. */
export function statusText(status: Status, state: string): string {
  const sections = [
    summary(status, state),
    section(status.jobs, (jobs) => jobsTable(jobs, status.now) + earlier(status.earlierJobs)),
    section(status.sites, (sites) => sitesTable(sites, status.now)),
    section(status.workers, workersTable),
    section(status.contexts, (contexts) => contextsTable(contexts, status.workers)),
    section(status.transfers, transfersTable),
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
  const { evictions, lost, requeued } = status
  if (evictions + lost > 0) {
    lines.push(
      `evictions: ${count(evictions)}; lost workers: ${count(lost)}; tasks given back: ${count(requeued)}`,
    )
  }
  return lines.join('\n')
}

const earlier = (jobs: number) => (jobs > 0 ? `\n${plural(jobs, 'earlier one')}: see "factory jobs"` : '')

/** @param now by the clock that `createdAt` of the jobs is by */
export function jobsTable(jobs: JobInfo[], now?: number): string {
  const rows = jobs.map(({ id, name, context, state, done, failed, tasks, problem, createdAt }) => [
    String(id),
    name,
    context,
    problem === undefined ? state : 'stuck',
    count(done),
    count(failed),
    count(tasks),
    timeOfDay(createdAt, now),
  ])
  const notes = jobs.flatMap(({ id, problem, doubt }) => {
    const text = problem ?? doubt
    return text === undefined ? [] : [{ row: `job ${id}`, text }]
  })
  const headings = ['JOB', 'NAME', 'CONTEXT', 'STATE', 'DONE', 'FAILED', 'TASKS', 'CREATED']
  return tableWithNotes(headings, rows, notes)
}

/** @param now by the clock that `retryAt` of the sites is by */
export function sitesTable(sites: Status['sites'], now: number): string {
  const reasons = sites.map((site) => reasonsOf(site, now))
  const rows = sites.map((site, i) => [
    site.name,
    site.kind,
    site.policy,
    count(site.wanted),
    count(site.pending),
    count(site.running),
    count(site.held),
    cell(reasons[i]!.join('; ')),
  ])
  const notes = sites.flatMap(({ name }, i) =>
    isLong(reasons[i]!.join('; ')) ? reasons[i]!.map((text) => ({ row: name, text })) : [],
  )
  return tableWithNotes(
    ['SITE', 'KIND', 'POLICY', 'WANTED', 'PENDING', 'RUNNING', 'HELD', 'WHY'],
    rows,
    notes,
  )
}

/** Why a site has not the pilots it wants, as far as is known. */
function reasonsOf(
  { paused, retryAt, lastFailure, warnings, reasons }: Status['sites'][number],
  now: number,
): string[] {
  const next = retryAt === undefined ? '' : `next try at ${timeOfDay(retryAt, now)}: `
  return [
    ...(paused === undefined ? [] : [`${next}${paused}`]),
    ...(lastFailure === undefined ? [] : [`last failure: ${lastFailure}`]),
    ...(warnings ?? []),
    ...reasons.map(({ reason, pilots }) => `${pilots}: ${reason}`),
  ]
}

function workersTable(workers: Status['workers']): string {
  const rows = workers.map((worker) => [
    worker.id,
    worker.site,
    worker.node,
    worker.state,
    `${rate(worker.rate)}/s`,
    count(worker.leased),
    worker.oldestMs === undefined ? '' : duration(worker.oldestMs),
    worker.contexts.map(contextOnWorker).join(', '),
  ])
  const notes = workers.flatMap(({ id, contexts }) =>
    contexts.flatMap(({ context, error }) =>
      error === undefined ? [] : [{ row: id, text: `${context} failed: ${error.message}` }],
    ),
  )
  const headings = ['WORKER', 'SITE', 'NODE', 'STATE', 'RATE', 'TASKS', 'OLDEST', 'CONTEXTS']
  return tableWithNotes(headings, rows, notes)
}

function contextOnWorker({
  context,
  level,
  doing,
  bytesHeld,
  bytesTotal,
  error,
}: Status['workers'][number]['contexts'][number]) {
  if (error) return `${context} failed`
  if (doing === 'fetching' && bytesTotal)
    return `${context} fetching ${size(bytesHeld ?? 0)} of ${size(bytesTotal)}`
  return `${context} ${doing ?? level}`
}

function contextsTable(contexts: Status['contexts'], workers: Status['workers']): string {
  const rows = contexts.map(({ context, loads, fetchMs, loadMs, inferences, inferenceMs }) => [
    context,
    holdersOf(context, workers),
    count(loads),
    duration(fetchMs),
    duration(loadMs),
    count(inferences),
    duration(inferenceMs),
  ])
  return table(['CONTEXT', 'HELD BY', 'LOADS', 'FETCHING', 'LOADING', 'INFERENCES', 'INFERRING'], rows)
}

/** Workers by the level they hold a context at, e.g. `2 device, 1 disk`. */
function holdersOf(context: string, workers: Status['workers']): string {
  const held = workers.flatMap(({ contexts }) => contexts.filter((report) => report.context === context))
  return LEVELS.map((level) => ({ level, holders: held.filter((report) => report.level === level).length }))
    .filter(({ holders }) => holders > 0)
    .map(({ level, holders }) => `${count(holders)} ${level}`)
    .join(', ')
}

/** Who is fetching what from whom. */
function transfersTable(transfers: Status['transfers']): string {
  const rows = transfers.map(({ worker, bundle, heldBytes, totalBytes, from }) => [
    worker,
    bundle.slice(0, 12),
    totalBytes > 0 ? `${size(heldBytes)} of ${size(totalBytes)}` : 'begins',
    sourcesText(from),
  ])
  return table(['FETCHING WORKER', 'BUNDLE', 'HERE', 'FROM'], rows)
}

function sourcesText(from: Status['transfers'][number]['from']): string {
  const most = from.toSorted((a, b) => b.bytes - a.bytes)
  const rest = most.slice(SOURCES_SHOWN)
  const texts = most.slice(0, SOURCES_SHOWN).map(({ source, bytes }) => `${source} ${size(bytes)}`)
  if (rest.length > 0) {
    const bytes = rest.reduce((sum, { bytes }) => sum + bytes, 0)
    texts.push(`${plural(rest.length, 'other')} ${size(bytes)}`)
  }
  return texts.join(', ')
}
