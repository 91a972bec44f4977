import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Store } from '../../bundle/store/store.ts'
import { managerDefaults } from '../../core/manager-defaults.ts'
import type { SchedulerConfig } from '../../core/scheduler.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { ApiKeys } from './api-keys.ts'
import { BlobStore } from './blob-store.ts'
import { Contexts } from './contexts/contexts.ts'
import { Dispatcher } from './dispatcher.ts'
import type { NotifyTarget } from './events/notifications.ts'
import { recordEvents } from './events/record-events.ts'
import { Explanations } from './explanations.ts'
import { Jobs } from './jobs/jobs.ts'
import { TaskParts } from './jobs/task-parts.ts'
import { TaskProgress } from './jobs/task-progress.ts'
import { createMetrics } from './metrics/metrics.ts'
import { Peers, ticketKeys } from './peers.ts'
import { LedgerPilotRegistry } from './pilots/pilot-registry.ts'
import { WorkerSessions } from './pilots/worker-sessions.ts'
import { StatusBoard } from './status-board.ts'
import { JobSpans } from './tracing/job-spans.ts'
import type { SpanExport } from './tracing/span-record.ts'

export interface ServiceOptions {
  /** Holds everything that must outlive the process; made with mode 0700 if it is not there. */
  stateFolder: string
  /** Holds the bundles of the contexts. */
  store: Store
  /** Shown in the status. */
  version: string
  log: Logger
  scheduler?: Partial<SchedulerConfig>
  /** Most bytes that large arguments and results may take on disk. */
  blobBytes?: number
  /** Whether the pilots of a site reach it through a relay. Default: at none. */
  hasRelay?: (site: string) => boolean
  /** Where spans of jobs go. Default: nowhere. It is closed with the manager. */
  spans?: SpanExport | undefined
  /** What is told of events as they come. Default: nothing. */
  notify?: readonly NotifyTarget[]
  /** Called when tasks come to wait where none did. */
  onWork?: () => void
}

/** What a manager does, before anything can ask it. */
export type Services = Awaited<ReturnType<typeof openServices>>

/** Opens a manager's services over its ledger. */
export async function openServices(ledger: Ledger, options: ServiceOptions) {
  const { stateFolder, store, log } = options
  const dispatcher = new Dispatcher(ledger, log, options.scheduler ?? {})
  const sessions = new WorkerSessions(ledger.pilots, dispatcher)
  const pilots = new LedgerPilotRegistry(ledger, dispatcher, sessions)
  const contexts = new Contexts(ledger, store, dispatcher)
  const blobs = await BlobStore.open({
    ledger,
    folder: join(stateFolder, 'blobs'),
    maxBytes: options.blobBytes ?? managerDefaults.blobBytes,
    now: () => dispatcher.now,
    log,
  })
  const jobs = new Jobs(ledger, dispatcher, contexts, blobs, options.onWork ?? (() => {}))
  const progress = new TaskProgress(ledger, dispatcher)
  const parts = new TaskParts(ledger, dispatcher)
  const keys = new ApiKeys(ledger, () => dispatcher.now)
  const tickets = ticketKeys(ledger)
  const peers = new Peers({
    sessions,
    contexts,
    dispatcher,
    log,
    tickets,
    hasRelay: options.hasRelay ?? (() => false),
  })
  const board = new StatusBoard({ version: options.version, dispatcher, sessions, jobs, contexts, peers })
  const explanations = new Explanations({ ledger, dispatcher, jobs, contexts, board })
  const events = recordEvents({
    notify: options.notify ?? [],
    ledger,
    dispatcher,
    pilots,
    sessions,
    jobs,
    contexts,
    sites: () => board.sites.status(),
    version: options.version,
    log,
  })
  const spans =
    options.spans &&
    new JobSpans({ ledger, dispatcher, jobs, sessions, feed: events.feed, log }, options.spans)
  const metrics = createMetrics({ ledger, dispatcher, board, peers, events, version: options.version })
  return {
    ...{ dispatcher, sessions, pilots, contexts, blobs, jobs, progress, parts, keys, tickets, peers, board },
    ...{ explanations, events, spans, metrics },
  }
}
