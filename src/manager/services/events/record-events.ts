import type { Logger } from 'pino'
import { siteChanges } from '../../../core/site-events.ts'
import type { SiteStatus } from '../../../protocol/status.ts'
import type { NewEvent } from '../../../protocol/events.ts'
import type { Ledger } from '../../ledger/ledger.ts'
import type { Contexts } from '../contexts/contexts.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { LedgerPilotRegistry } from '../pilots/pilot-registry.ts'
import type { WorkerSessions } from '../pilots/worker-sessions.ts'
import { EventFeed } from './event-feed.ts'
import { logJobs } from './log-jobs.ts'
import { JobWatch } from './job-events.ts'
import { WorkerEvents } from './worker-events.ts'
import { notifier, type NotifyTarget } from './notifications.ts'

/** How often sites are looked at and slot time is entered, milliseconds. */
const LOOK_MS = 1_000
/** Looks from one sample to the next. */
const LOOKS_PER_SAMPLE = 5

export interface EventSources {
  ledger: Ledger
  dispatcher: Dispatcher
  pilots: LedgerPilotRegistry
  sessions: WorkerSessions
  jobs: Jobs
  contexts: Contexts
  /** What the factory knows of its sites. */
  sites: () => SiteStatus[]
  version: string
  log: Logger
  /** What is told of events as they come. */
  notify: readonly NotifyTarget[]
}

/** What goes on, written down. */
export interface EventRecord {
  feed: EventFeed
  workerEvents: WorkerEvents
  /** Results since the ledger was made. */
  totals: { done: number; failed: number }
  close(): Promise<void>
}

/** Has everything that happens from now on told to a feed, which the ledger keeps. */
export function recordEvents(sources: EventSources): EventRecord {
  const { ledger, dispatcher, pilots, contexts } = sources
  const before = ledger.events.latest('sample')
  const feed = new EventFeed(ledger, sources.log, () => dispatcher.now)
  if (sources.notify.length > 0) feed.onEvent(notifier(sources.notify, sources.log))
  const { note } = feed
  logJobs({ ...sources, feed })
  note({ type: 'factory-started', version: sources.version })
  const workerEvents = new WorkerEvents(sources, note, before?.pools ?? [])
  const jobWatch = new JobWatch(sources, note)
  const totals = { done: before?.tasks.done ?? 0, failed: before?.tasks.failed ?? 0 }
  dispatcher.on('results', (counts) => {
    for (const { done, failed } of counts.values()) {
      totals.done += done
      totals.failed += failed
    }
  })
  dispatcher.on('context-broken', (contextId, { message }) => {
    const context = contexts.find(contextId)
    if (context) note({ type: 'context-broken', context: context.name, contextId, message })
  })
  contexts.onChange = (change, { name, id }) =>
    note({ type: `context-${change}`, context: name, contextId: id })
  pilots.on('submitted', ({ pilot, site, jobId }) =>
    note({ type: 'pilot-submitted', pilot, site, batchJob: jobId.slice(0, 200) }),
  )
  pilots.on('ended', (ended) => note({ type: 'pilot-ended', ...ended }))

  let known = new Map<string, SiteStatus>()
  let last = ''
  let looks = 0
  function look(): void {
    const sites = sources.sites()
    for (const event of siteChanges(known, sites)) note(event)
    known = new Map(sites.map((site) => [site.name, site]))
    const pools = workerEvents.pools()
    if (++looks % LOOKS_PER_SAMPLE === 0) sample(sites, pools)
  }
  function sample(sites: readonly SiteStatus[], pools = workerEvents.pools()): void {
    jobWatch.tellProgress()
    const event = takeSample(dispatcher, sites, pools, totals)
    const text = JSON.stringify(event)
    if (text === last) return
    last = text
    note(event)
  }
  const timer = setInterval(look, LOOK_MS)
  return {
    feed,
    workerEvents,
    totals,
    async close() {
      clearInterval(timer)
      workerEvents.close()
      sample(sources.sites())
      note({ type: 'factory-stopped' })
      await feed.close()
    },
  }
}

function takeSample(
  { view }: Dispatcher,
  sites: readonly SiteStatus[],
  pools: ReturnType<WorkerEvents['pools']>,
  totals: { done: number; failed: number },
): NewEvent {
  return {
    type: 'sample',
    tasks: { queued: view.queued, leased: view.leased, ...totals },
    sites: sites.map(({ name, pending, running, held }) => ({ site: name, pending, running, held })),
    pools: pools.map((pool) => ({ ...pool, spentMs: rounded(pool.spentMs) })),
  }
}

/** Fractions of milliseconds are of no use in the ledger. */
function rounded<Times extends Record<string, number>>(times: Times): Times {
  return Object.fromEntries(Object.entries(times).map(([key, ms]) => [key, Math.round(ms)])) as Times
}
