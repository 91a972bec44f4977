/*
 * What a person wants to know first: does it work, when is it done, and what is wrong.
 */

import type { SiteStatus } from '../../protocol/status.ts'
import type { JobView, View } from '../view.ts'

/** Something that is wrong, and what it is about. */
export interface Problem {
  severity: 'error' | 'warning'
  /** `job 3`, `site slurm`, a context's name. */
  about: string
  text: string
  /** When it is tried again by itself. */
  retryAt?: number
}

export interface Verdict {
  /**
   * - `idle`: there is nothing to do
   * - `working`: tasks end
   * - `starting`: workers are there and get ready
   * - `waiting`: pilots are queued at some site
   * - `stuck`: there is work, and nothing is on the way that would do it
   */
  state: 'idle' | 'working' | 'starting' | 'waiting' | 'stuck'
  /** Tasks that have not ended. */
  left: number
  /** Milliseconds until they have, at the rate of now; absent if there is none. */
  endsInMs?: number
  /** The worst first. */
  problems: Problem[]
}

export function judge(view: View): Verdict {
  const left = view.tasks.queued + view.tasks.leased
  const endsInMs = view.rate > 0 && left > 0 ? (left / view.rate) * 1000 : undefined
  return {
    state: stateOf(view, left),
    left,
    ...(endsInMs !== undefined && { endsInMs }),
    problems: problemsOf(view),
  }
}

/** When a job ends at the rate of now, milliseconds from now; undefined if nothing of it ends. */
export function endOf({ state, tasks, done, failed, rate }: JobView): number | undefined {
  const left = tasks - done - failed
  return state === 'open' && left > 0 && rate > 0 ? (left / rate) * 1000 : undefined
}

function stateOf({ rate, workers, sites }: View, left: number): Verdict['state'] {
  if (left === 0) return 'idle'
  if (rate > 0) return 'working'
  if (Object.keys(workers).length > 0) return 'starting'
  const queued = Object.values(sites).some(({ pending, running }) => pending + running > 0)
  return queued ? 'waiting' : 'stuck'
}

/** Of the tasks that ended, the part that failed from which it is an error, and no mere warning. */
const MANY_FAIL = 0.2

function problemsOf(view: View): Problem[] {
  const hasWorkers = Object.keys(view.workers).length > 0
  const all = [
    ...Object.values(view.jobs).flatMap(jobProblems),
    ...Object.values(view.sites).flatMap((site) => siteProblems(site, hasWorkers)),
    ...contextProblems(view),
    ...silence(view),
  ]
  const rank = ({ severity }: Problem) => (severity === 'error' ? 0 : 1)
  return all.toSorted((a, b) => rank(a) - rank(b))
}

function jobProblems({ id, name, state, done, failed, problem, doubt }: JobView): Problem[] {
  if (state !== 'open') return []
  const about = `job ${id}`
  if (problem !== undefined) return [{ severity: 'error', about, text: problem }]
  const found: Problem[] = []
  if (doubt !== undefined) found.push({ severity: 'warning', about, text: doubt })
  if (failed > 0) {
    const severity = failed >= MANY_FAIL * (done + failed) ? 'error' : 'warning'
    const part = percent(failed / (done + failed))
    found.push({ severity, about, text: `${failed} tasks of "${name}" failed, ${part} of those that ended` })
  }
  return found
}

function siteProblems(site: SiteStatus, hasWorkers: boolean): Problem[] {
  const about = `site ${site.name}`
  const found: Problem[] = []
  if (site.paused !== undefined) {
    // What a user has told it to is no failure.
    const severity = hasWorkers || site.order !== 'work' ? 'warning' : 'error'
    const retry = site.retryAt === undefined ? {} : { retryAt: site.retryAt }
    found.push({ severity, about, text: site.paused, ...retry })
  }
  if (site.lastFailure !== undefined)
    found.push({ severity: 'warning', about, text: `the last pilot was of no use: ${site.lastFailure}` })
  if (site.held > 0) {
    const why = site.reasons.flatMap(({ reason, state }) => (state === 'held' ? reason : [])).join('; ')
    found.push({ severity: 'warning', about, text: `${site.held} pilots are held${why && `: ${why}`}` })
  }
  for (const text of site.warnings ?? []) found.push({ severity: 'warning', about, text })
  return found
}

/** What fails on several workers in the same way is said once. */
function contextProblems({ workers }: View): Problem[] {
  const failures = Object.values(workers).flatMap(({ contexts }) =>
    contexts.flatMap(({ context, error }) => (error ? [{ context, text: error.message }] : [])),
  )
  const kinds = Map.groupBy(failures, ({ context, text }) => `${context} ${text}`)
  return [...kinds.values()].map((alike): Problem => {
    const [{ context, text }] = alike as [(typeof failures)[number]]
    const where = alike.length === 1 ? 'one worker' : `${alike.length} workers`
    return { severity: 'warning', about: context, text: `could not be loaded on ${where}: ${text}` }
  })
}

function silence({ workers }: View): Problem[] {
  const silent = Object.values(workers).filter(({ state }) => state === 'suspect')
  if (silent.length === 0) return []
  const nodes = [...new Set(silent.map(({ node }) => node))]
  const named =
    nodes.length > 3 ? `${nodes.slice(0, 3).join(', ')} and ${nodes.length - 3} more` : nodes.join(', ')
  const text = `${silent.length === 1 ? 'one has' : `${silent.length} have`} fallen silent, on ${named}`
  return [{ severity: 'warning', about: 'workers', text }]
}

const percent = (part: number) => `${Number((part * 100).toPrecision(2))} %`
