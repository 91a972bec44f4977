import type { ExchangeRequest } from '../../protocol/worker.ts'

/* When to leave, and how long what runs may still go on. */

export type ShutdownReason = NonNullable<ExchangeRequest['leaving']>

/** Times are milliseconds on one clock. */
export interface ShutdownSituation {
  now: number
  /** The batch system has told the worker to go. */
  evicted: boolean
  /** The manager has. */
  drained: boolean
  /** When the worker must be gone at the latest: the batch system's end of the job, less the grace. */
  lastMoment?: number | undefined
  /** Since when it has had nothing to do; absent if it has something. */
  idleSince?: number | undefined
  idleMs: number
  /** Some task of what is loaded could still end in time. */
  hasUse: boolean
}

/** Why the worker should leave now, if it should. */
export function shutdownReason(situation: ShutdownSituation): ShutdownReason | undefined {
  const { now, evicted, drained, lastMoment, idleSince, idleMs, hasUse } = situation
  if (evicted) return 'eviction'
  if (drained) return 'drain'
  if (lastMoment !== undefined && now >= lastMoment) return 'walltime'
  // Nothing in hand, and nothing more could end in time: the node is of more use to others.
  if (idleSince !== undefined && !hasUse) return 'walltime'
  if (idleSince !== undefined && now - idleSince >= idleMs) return 'idle'
  return undefined
}

/** Parts of the grace after which what still runs is handed back, and after which the last exchange is given up. */
const STOP_AFTER = 0.5
const GONE_AFTER = 0.8

/** A worker on its way out. */
export interface Shutdown {
  reason: ShutdownReason
  /** When everything that has not ended is handed back. */
  stopAt: number
  /** When it gives up telling the manager. */
  goneAt: number
}

/**
 * The departure as of now: `current`, or a new one if there is a reason, or a more pressing one.
 *
 * @param graceMs warning the batch system gives before it kills
 */
export function shutdownOf(
  current: Shutdown | undefined,
  situation: ShutdownSituation,
  graceMs: number,
): Shutdown | undefined {
  const reason = shutdownReason(situation)
  if (!reason || current?.reason === 'eviction' || (current && reason !== 'eviction')) return current
  // Told to drain, it ends what it has, though never past its last moment.
  const from = reason === 'drain' ? (situation.lastMoment ?? Infinity) : situation.now
  return { reason, stopAt: from + graceMs * STOP_AFTER, goneAt: from + graceMs * GONE_AFTER }
}
