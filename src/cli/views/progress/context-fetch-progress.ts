import type { Status } from '../../../client/index.ts'
import { plural } from '../format.ts'
import type { BytesMoved } from './byte-progress.ts'

/** How far the workers that are there are with a context's files. */
export interface Warmth extends BytesMoved {
  /** All of them, and at least one, have the files. */
  isWarm: boolean
  /** Why it will not come to that. */
  failed: string | undefined
}

export function warmthOf({ workers }: Pick<Status, 'workers'>, context: string): Warmth {
  const active = workers.filter(({ state }) => state !== 'draining')
  const reports = active.map(({ id, contexts }) => ({
    id,
    report: contexts.find((report) => report.context === context),
  }))
  const failed = reports.find(({ report }) => report?.error !== undefined)
  const warm = reports.filter(({ report }) => report !== undefined && report.level !== 'absent').length
  const sizes = reports.map(({ report }) => report?.bytesTotal ?? 0)
  const each = Math.max(0, ...sizes)
  const done = reports.reduce(
    (sum, { report }) => sum + (report && report.level !== 'absent' ? each : (report?.bytesHeld ?? 0)),
    0,
  )
  return {
    done,
    total: each > 0 ? each * active.length : undefined,
    note:
      active.length === 0 ? 'no worker is there yet' : `${warm} of ${plural(active.length, 'worker')} ready`,
    isWarm: active.length > 0 && warm === active.length,
    failed: failed && `${context} failed on worker ${failed.id}: ${failed.report!.error!.message}`,
  }
}
