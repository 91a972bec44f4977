import type { Contexts } from '../../manager/services/contexts/contexts.ts'
import type { EventFeed } from '../../manager/services/events/event-feed.ts'
import type { Jobs } from '../../manager/services/jobs/jobs.ts'
import type { PilotRegistry } from '../../core/interfaces/pilot-registry.ts'
import type { StatusBoard } from '../../manager/services/status-board.ts'
import type { Pool } from '../../protocol/events.ts'

/** What the dashboard shows and acts on. */
export interface DashboardServices {
  /** Hash of the user's token. */
  user: Uint8Array
  factoryId: string
  jobs: Pick<Jobs, 'cancel' | 'retry' | 'errors' | 'log'>
  contexts: Pick<Contexts, 'list' | 'warm'>
  pilots: Pick<PilotRegistry, 'drain'>
  board: Pick<StatusBoard, 'read' | 'sites'>
  /** What happened. */
  events: Pick<EventFeed, 'read' | 'before'>
  /** Workers by site and kind of slots, and where their slots' time went. */
  pools: () => Pool[]
  /** Keeps a text while the manager does not run. */
  kept: { read(key: string): string | undefined; write(key: string, text: string): void }
  /** The manager's clock, milliseconds. */
  now: () => number
}
