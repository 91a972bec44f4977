import type { JobInfo, Status } from '../../client/index.ts'
import { pilotsReason } from '../../common/plain/pilots-reason.ts'
import {
  cell,
  type Column,
  count,
  duration,
  isLong,
  plural,
  rate,
  size,
  table,
  timeOfDay,
  withNotes,
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
  if (status.notice !== undefined) lines.push(status.notice)
  return lines.join('\n')
}

const earlier = (jobs: number) => (jobs > 0 ? `\n${plural(jobs, 'earlier one')}: see "factory jobs"` : '')

/** @param now by the clock that `createdAt` of the jobs is by */
export function jobsTable(jobs: JobInfo[], now?: number): string {
  const notes = jobs.flatMap(({ id, problem, doubt }) => {
    const text = problem ?? doubt
    return text === undefined ? [] : [{ row: `job ${id}`, text }]
  })
  const columns: Column<JobInfo>[] = [
    ['JOB', (job) => String(job.id)],
    ['NAME', (job) => job.name],
    ['CONTEXT', (job) => job.context],
    ['STATE', (job) => (job.problem === undefined ? job.state : 'stuck')],
    ['DONE', (job) => count(job.done)],
    ['FAILED', (job) => count(job.failed)],
    ['TASKS', (job) => count(job.tasks)],
    ['CREATED', (job) => timeOfDay(job.createdAt, now)],
  ]
  return withNotes(table(jobs, columns), notes)
}

/** @param now by the clock that `retryAt` of the sites is by */
export function sitesTable(sites: Status['sites'], now: number): string {
  const reasons = new Map(sites.map((site) => [site, reasonsOf(site, now)]))
  const columns: Column<Status['sites'][number]>[] = [
    ['SITE', (site) => site.name],
    ['KIND', (site) => site.kind],
    ['POLICY', (site) => site.policy],
    ['WANTED', (site) => count(site.wanted)],
    ['PENDING', (site) => count(site.pending)],
    ['RUNNING', (site) => count(site.running)],
    ['HELD', (site) => count(site.held)],
    ['WHY', (site) => cell(reasons.get(site)!.join('; '))],
  ]
  const notes = [...reasons].flatMap(([{ name }, texts]) =>
    isLong(texts.join('; ')) ? texts.map((text) => ({ row: name, text })) : [],
  )
  return withNotes(table(sites, columns), notes)
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
    ...reasons.map(pilotsReason),
  ]
}

export function workersTable(workers: Status['workers']): string {
  const notes = workers.flatMap(({ id, contexts }) =>
    contexts.flatMap(({ context, error }) =>
      error === undefined ? [] : [{ row: id, text: `${context} failed: ${error.message}` }],
    ),
  )
  const columns: Column<Status['workers'][number]>[] = [
    ['WORKER', (worker) => worker.id],
    ['SITE', (worker) => worker.site],
    ['NODE', (worker) => worker.node],
    ['STATE', (worker) => worker.state],
    ['RATE', (worker) => `${rate(worker.rate)}/s`],
    ['TASKS', (worker) => count(worker.leased)],
    ['OLDEST', (worker) => (worker.oldestMs === undefined ? '' : duration(worker.oldestMs))],
    ['CONTEXTS', (worker) => worker.contexts.map(contextOnWorker).join(', ')],
  ]
  return withNotes(table(workers, columns), notes)
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
  return table(contexts, [
    ['CONTEXT', ({ context }) => context],
    ['HELD BY', ({ context }) => holdersOf(context, workers)],
    ['LOADS', ({ loads }) => count(loads)],
    ['FETCHING', ({ fetchMs }) => duration(fetchMs)],
    ['LOADING', ({ loadMs }) => duration(loadMs)],
    ['INFERENCES', ({ inferences }) => count(inferences)],
    ['INFERRING', ({ inferenceMs }) => duration(inferenceMs)],
  ])
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
  return table(transfers, [
    ['FETCHING WORKER', ({ worker }) => worker],
    ['BUNDLE', ({ bundle }) => bundle.slice(0, 12)],
    [
      'HERE',
      ({ heldBytes, totalBytes }) =>
        totalBytes > 0 ? `${size(heldBytes)} of ${size(totalBytes)}` : 'begins',
    ],
    ['FROM', ({ from }) => sourcesText(from)],
  ])
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
