import type { FactoryEvent } from '../../protocol/events.ts'
import { count, duration, plural, timeOfDay } from './format.ts'

/** One line that says what happened, for a terminal. */
export function eventLine(event: FactoryEvent, now?: number): string {
  return `${timeOfDay(event.at, now)}  ${event.type.padEnd(17)}  ${sayEvent(event)}`
}

/** What happened, in words. */
export function sayEvent(event: FactoryEvent): string {
  switch (event.type) {
    case 'factory-started':
      return `version ${event.version}`
    case 'factory-stopped':
      return ''
    case 'pilot-submitted':
      return `${event.pilot} at ${event.site}, batch job ${event.batchJob}`
    case 'pilot-ended':
      return `${event.pilot} at ${event.site}: ${firstLine(event.reason)}`
    case 'worker-registered': {
      const queued = event.queuedMs === undefined ? '' : `${duration(event.queuedMs)} in the queue, `
      const again = event.restarts > 0 ? 'its job has begun again, ' : ''
      return `${whoIs(event)}, ${plural(event.slots, 'slot')} (${event.device}): ${again}${queued}${duration(event.bootMs)} to boot`
    }
    case 'worker-returned':
      return whoIs(event)
    case 'worker-lost':
      return `${whoIs(event)}${losses(event)}`
    case 'worker-evicted':
    case 'worker-left':
      return `${whoIs(event)} (${event.reason})${losses(event)}`
    case 'node-avoided':
      return `${event.node} at ${event.site}: ${event.worker} failed ${plural(event.failures, 'task')} that others do`
    case 'context-level': {
      const times = [
        ...(event.fetchMs >= 1 ? [`fetched in ${duration(event.fetchMs)}`] : []),
        ...(event.loadMs >= 1 ? [`loaded in ${duration(event.loadMs)}`] : []),
      ]
      const took = times.length > 0 ? ` (${times.join(', ')})` : ''
      return `${event.context} on ${event.worker}: ${event.from} -> ${event.level}${took}`
    }
    case 'context-failed':
      return `${event.context} on ${event.worker}, attempt ${event.attempts}: ${firstLine(event.message)}`
    case 'context-broken':
      return `${event.context}: ${firstLine(event.message)}`
    case 'context-added':
    case 'context-dropped':
      return event.context
    case 'job-submitted':
      return `job ${event.job} "${event.name}": ${event.function} of ${event.context}`
    case 'job-progress':
      return `job ${event.job}: ${ends(event)}`
    case 'job-ended':
      return `job ${event.job} "${event.name}" ${event.state}: ${ends(event)}`
    case 'job-reopened':
      return `job ${event.job} "${event.name}"`
    case 'attempts-lost':
      return `${plural(event.tasks, 'task')} of job ${event.job} with ${event.worker} on ${event.node}`
    case 'shell-opened': {
      const from = event.address === undefined ? '' : ` from ${event.address}`
      return `${event.pilot} at ${event.site}, ${event.program ?? 'a login shell'}, by ${event.user}${from}`
    }
    case 'shell-closed':
      return `${event.pilot} at ${event.site} after ${duration(event.ms)}: ${event.how}`
    case 'site-paused':
      return `${event.site}: ${firstLine(event.reason)}`
    case 'site-backoff':
      return `${event.site} until ${timeOfDay(event.retryAt)}: ${firstLine(event.reason)}`
    case 'site-resumed':
      return event.site
    case 'sample': {
      const { queued, leased, done } = event.tasks
      const workers = event.pools.reduce((sum, pool) => sum + pool.workers, 0)
      return `${plural(workers, 'worker')}; tasks: ${count(queued)} queued, ${count(leased)} running, ${count(done)} done ever`
    }
  }
}

const whoIs = ({
  worker,
  pilot,
  site,
  node,
}: {
  worker: string
  pilot: string
  site: string
  node: string
}) => `${worker} of ${pilot} on ${node} at ${site}`

function losses({ requeued, lostMs }: { requeued: number; lostMs: number }): string {
  if (requeued === 0 && lostMs === 0) return ''
  return `: ${plural(requeued, 'task')} given back, ${duration(lostMs)} of slot time lost`
}

function ends({ tasks, done, failed }: { tasks: number; done: number; failed: number }): string {
  return `${count(done)} of ${plural(tasks, 'task')} done${failed > 0 ? `, ${count(failed)} failed` : ''}`
}

const firstLine = (text: string) => text.split('\n', 1)[0]!
