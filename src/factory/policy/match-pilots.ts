import type { PilotView } from '../../core/pilot-scaling.ts'
import type { PilotRecord } from '../../core/pilot-registry.ts'
import type { Job } from '../sites/site.ts'

export type MatchedPilots = {
  /** Records whose submission was not noted: the factory died in between, or the answer was lost. */
  adopted: { pilot: string; jobId: string }[]
  /** Records whose jobs are no longer in the queue, with what the batch system still says of them. */
  gone: { record: PilotRecord; job?: Job }[]
  /** Jobs of pilots the ledger has given up, that must not run. */
  orphans: Job[]
  /** Everything that takes up room at the site. */
  pilots: PilotView[]
}

/**
 * Brings together what the queue shows and what the ledger knows. The queue decides what exists, the ledger what it is
 * for.
 *
 * @param listedAt when the queue was asked; pilots submitted later are not expected in its answer.
 * @param lateness for how long a pilot without a job counts as submitted: its job may still turn up.
 * @param before what was seen last time, for how long a state has lasted.
 */
export function matchPilots(
  jobs: readonly Job[],
  records: readonly PilotRecord[],
  before: readonly PilotView[],
  listedAt: number,
  lateness: number,
): MatchedPilots {
  const byPilot = new Map(jobs.map((job) => [job.pilot, job]))
  const last = new Map(before.map((view) => [view.pilot, view]))
  const result: MatchedPilots = { adopted: [], gone: [], orphans: [], pilots: [] }

  for (const record of records) {
    const job = byPilot.get(record.pilot)
    byPilot.delete(record.pilot)
    const state = job === undefined || job.state === 'ended' ? 'submitting' : job.state
    const alive = state !== 'submitting'
    if (!alive && !mayStillCome(record, listedAt, lateness)) {
      result.gone.push(job ? { record, job } : { record })
      continue
    }
    if (job && alive && record.jobId === undefined)
      result.adopted.push({ pilot: record.pilot, jobId: job.jobId })
    result.pilots.push(view(record, state, last.get(record.pilot), listedAt))
  }
  for (const job of byPilot.values()) {
    if (job.state === 'ended') continue
    if (job.state !== 'ending') result.orphans.push(job)
    const { pilot } = job
    result.pilots.push({ pilot, state: 'ending', registered: false, idle: false, since: listedAt })
  }
  return result
}

/** Whether a pilot that the queue does not show can still appear there. */
function mayStillCome(record: PilotRecord, listedAt: number, lateness: number): boolean {
  if (record.submittedAt !== undefined) return record.submittedAt >= listedAt
  return record.createdAt + lateness > listedAt
}

function view(
  record: PilotRecord,
  state: PilotView['state'],
  before: PilotView | undefined,
  now: number,
): PilotView {
  const { pilot, worker } = record
  return {
    pilot,
    state,
    registered: record.registeredAt !== undefined,
    idle: worker?.state === 'active' && worker.leased === 0,
    since: before?.state === state ? before.since : now,
  }
}
