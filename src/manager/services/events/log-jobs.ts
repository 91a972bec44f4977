import type { Logger } from 'pino'
import type { NewEvent } from '../../../protocol/events.ts'
import { taskTraceparent, traceFields } from '../../../protocol/trace-context.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { EventFeed } from './event-feed.ts'

/** Failures of a job that are logged: `factory errors` has all of them. */
const MOST = 20

/** Says in the log which jobs come and end, and which of their tasks fail first, each with its trace. */
export function logJobs(parts: { jobs: Jobs; dispatcher: Dispatcher; feed: EventFeed; log: Logger }): void {
  const { jobs, dispatcher, feed, log } = parts
  const failures = new Map<number, number>()

  feed.onEvent((event: NewEvent) => {
    if (event.type !== 'job-submitted' && event.type !== 'job-ended' && event.type !== 'job-reopened') return
    const { type, traceparent, ...about } = event
    log.info({ ...about, ...traceFields(traceparent) }, type.replace('-', ' '))
    if (type === 'job-ended') failures.delete(event.job)
  })

  dispatcher.on('failed', (job, { task, outcome, ms }, worker) => {
    const seen = (failures.get(job) ?? 0) + 1
    if (seen > MOST || !jobs.stand(job)) return
    failures.set(job, seen)
    const { name, message } = outcome.error
    const span = traceFields(taskTraceparent(jobs.info(job).traceparent, task))
    log.warn(
      { job, task, worker, ms, status: outcome.status, error: { name, message }, ...span },
      'task failed',
    )
    if (seen === MOST) log.warn({ job }, 'further failures of the job are not logged')
  })
}
