import { duration, plural, size } from '../../common/plain/quantity-text.ts'
import type { Reason } from '../../protocol/explanation.ts'
import type { ContextReport } from '../../protocol/worker.ts'
import type { Job, Worker } from './state.ts'
import { isLoadedOn } from './state.ts'
import { allowance } from './worker-trial.ts'
import { inHand, refusalOf } from './worker-view.ts'
import type { JobSnapshot } from './job-snapshot.ts'

/** Workers and tasks that are named in one sentence. */
const NAMED = 3

/** Why workers do not take more of a job's tasks: one sentence for each kind of reason. */
export function explainWorkers(snapshot: JobSnapshot, job: Job): Reason[] {
  const found = [...snapshot.state.workers.values()].map((worker) => ({
    worker: worker.id,
    ...whyNot(snapshot, job, worker),
  }))
  const byKind = Map.groupBy(found, ({ code, what }) => `${code} ${what}`)
  return [...byKind.values()].map((same) => {
    const { code, what, advice, detail } = same[0]!
    const names = same.slice(0, NAMED).map(({ worker }) => worker)
    const more = same.length > NAMED ? ` and ${same.length - NAMED} more` : ''
    const subject =
      same.length === 1
        ? `Worker ${names[0]}`
        : `${plural(same.length, 'worker')} (${names.join(', ')}${more})`
    const each = same.length === 1 && detail !== undefined ? detail : ''
    return {
      code: `worker-${code}`,
      text: `${subject}: ${what}${each}.`,
      ...(advice !== undefined && { advice }),
    }
  })
}

interface WhyNot {
  code: string
  /** Goes for all workers of the same kind of reason. */
  what: string
  /** Goes for this one. */
  detail?: string
  advice?: string
}

/** The first thing that keeps a worker from taking more of a job's tasks. */
function whyNot(snapshot: JobSnapshot, job: Job, worker: Worker): WhyNot {
  const { state, now, nameOf, reports } = snapshot
  const refusal = refusalOf(worker, now)
  if (refusal) return { code: refusal, what: refusals[refusal] }
  if (worker.suspectSince !== undefined)
    return { code: 'silent', what: 'its connection broke, and it has not been heard of since' }
  const report = reports.get(worker.id)?.find(({ context }) => context === job.context)
  const retry = worker.setupRetries.get(job.context)
  if (retry)
    return {
      code: 'context-failed',
      what: `context ${nameOf(job.context)} could not be set up there: ${report?.error?.message ?? 'it gave no reason'}`,
      detail: `; it is tried again ${retry.retryAt > now ? `in ${duration(retry.retryAt - now)}` : 'now'} (attempt ${retry.attempts + 1})`,
    }
  if (!worker.warm.includes(job.context)) return elsewhere(snapshot, job, worker)
  if (!isLoadedOn(worker, job.context)) return bringingUp(nameOf(job.context), report)
  if (allowance(state, worker, now) === 0)
    return {
      code: 'on-trial',
      what: `it failed ${plural(worker.failures, 'task')} in a row, and is given only one now and then until it finishes one`,
    }
  const tasks = inHand(worker)
  return tasks > 0
    ? {
        code: 'busy',
        what: 'it has as much in hand as it gets done in a few seconds, and is given more as it finishes',
        detail: ` (${plural(tasks, 'task')})`,
      }
    : { code: 'ready', what: 'it is ready, and is given tasks with its next exchange' }
}

const refusals = {
  draining: 'it was told to leave, and takes no more work',
  leaving: 'it is leaving, and takes no more work',
  'out-of-time': 'its batch job has no time left for more work',
}

/** It is told to work for another context, or for none yet. */
function elsewhere({ state, nameOf }: JobSnapshot, job: Job, worker: Worker): WhyNot {
  const [other] = worker.warm
  if (other === undefined)
    return { code: 'unassigned', what: `it has not been told yet to bring up context ${nameOf(job.context)}` }
  const jobs = state.contexts.get(other)?.jobs ?? []
  const higher = jobs.some(({ priority, queue }) => queue.size > 0 && priority > job.priority)
  const why = higher ? 'which has work of higher priority' : 'which has its share of the workers, or its turn'
  return { code: 'other-context', what: `it works for context ${worker.warm.map(nameOf).join(', ')}, ${why}` }
}

function bringingUp(context: string, report: ContextReport | undefined): WhyNot {
  if (report?.doing === 'fetching') {
    const { bytesHeld = 0, bytesTotal = 0, fetchMs = 0 } = report
    const speed = fetchMs > 0 ? `, ${size((bytesHeld * 1000) / fetchMs)}/s` : ''
    return {
      code: 'fetching',
      what: `it is fetching context ${context}`,
      detail: `: ${size(bytesHeld)} of ${size(bytesTotal)} are there${speed}`,
    }
  }
  if (report?.doing === 'loading')
    return {
      code: 'loading',
      what: `it is loading context ${context}`,
      detail: report.loadMs === undefined ? '' : `, for ${duration(report.loadMs)} so far`,
    }
  return { code: 'starting', what: `it is about to bring up context ${context}` }
}
