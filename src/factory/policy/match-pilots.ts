import type { PilotView } from '../../core/pilot-scaling.ts'
import type { PilotRecord } from '../../core/interfaces/pilot-registry.ts'
import type { Job, Listing, Site } from '../sites/site.ts'

/** A pilot, and what of it is remembered from one look to the next. */
export type Sighting = PilotView & {
  /** When the queue showed it last, or it was submitted. Never ahead of the clock, should that be set back. */
  seenAt: number
  /** In how many looks since the queue did not show it. */
  misses: number
  /** Its job as the queue showed it last. */
  job?: Job
}

export type MatchedPilots = {
  /** Records whose submission was not noted: the factory died in between, or the answer was lost. */
  adopted: { pilot: string; jobId: string }[]
  /** Records whose jobs are no longer in the queue, with what the batch system still says of them. */
  gone: { record: PilotRecord; job?: Job }[]
  /** Jobs of pilots the ledger has given up, and second jobs of a pilot, that must not run. */
  orphans: Job[]
  /** Everything that takes up room at the site. */
  pilots: Sighting[]
}

/** What is known beside the queue's answer and the ledger. */
export type Circumstances = Pick<Site, 'lateness' | 'certain'> & {
  /** When the queue was asked; pilots submitted later are not expected in its answer. */
  listedAt: number
  /** What was seen last time. */
  before: readonly Sighting[]
  /** Pilots whose jobs were told to go. */
  removed: ReadonlySet<string>
}

/** Looks in a row in which a job must be missing to be gone: a batch system may answer nothing by mistake. */
const MISSES = 2

/**
 * Brings together what the queue shows and what the ledger knows. What the queue shows exists, and the ledger says what it is
 * for. That it does not show a job is no proof: see {@link isGone}.
 */
export function matchPilots(
  { jobs, complete }: Omit<Listing, 'oddities'>,
  records: readonly PilotRecord[],
  circumstances: Circumstances,
): MatchedPilots {
  const { listedAt } = circumstances
  const last = new Map(circumstances.before.map((sighting) => [sighting.pilot, sighting]))
  const byId = new Map(jobs.map((job) => [job.jobId, job]))
  const byPilot = Map.groupBy(jobs, ({ pilot }) => pilot)
  const spoken = new Set<Job>()
  const result: MatchedPilots = { adopted: [], gone: [], orphans: [], pilots: [] }

  for (const record of records) {
    const known = record.jobId === undefined ? firstAlive(byPilot.get(record.pilot)) : byId.get(record.jobId)
    if (known) spoken.add(known)
    const before = last.get(record.pilot)
    const present = known !== undefined && known.state !== 'ended'
    const lastSeen = present ? listedAt : (before?.seenAt ?? record.submittedAt ?? record.createdAt)
    const seenAt = Math.min(lastSeen, listedAt)
    const misses = present ? 0 : (before?.misses ?? 0) + (complete ? 1 : 0)
    const job = known ?? before?.job
    if (!present && isGone(record, known, { before, misses, seenAt }, circumstances)) {
      result.gone.push(job ? { record, job } : { record })
      continue
    }
    if (present && record.jobId === undefined)
      result.adopted.push({ pilot: record.pilot, jobId: known.jobId })
    const sighting = view(record, present ? known : undefined, before, listedAt)
    result.pilots.push({ ...sighting, misses, seenAt, ...(job && { job }) })
  }
  for (const job of jobs) {
    if (job.state === 'ended' || spoken.has(job)) continue
    if (job.state !== 'ending') result.orphans.push(job)
    const { pilot } = job
    const sighting = { pilot, state: 'ending', registered: false, idle: false, since: listedAt } as const
    result.pilots.push({ ...sighting, misses: 0, seenAt: listedAt })
  }
  return result
}

/** A submission that was given twice, by a wrapper that tried again, has two jobs for each pilot: only one may stay. */
function firstAlive(jobs: readonly Job[] | undefined): Job | undefined {
  return jobs?.find(({ state }) => state !== 'ended') ?? jobs?.[0]
}

/**
 * Whether the job of a pilot, which the queue does not show as alive, is gone. A worker that was heard of lately is there,
 * whatever the queue says. Otherwise it takes a final state, or that the job is missing again and again and something else
 * speaks for it: it was told to go, was going, has parted from its worker, or has been missing for long.
 */
function isGone(
  record: PilotRecord,
  job: Job | undefined,
  { before, misses, seenAt }: { before: Sighting | undefined; misses: number; seenAt: number },
  { listedAt, lateness, certain, removed }: Circumstances,
): boolean {
  if (mayStillCome(record, listedAt, lateness)) return false
  if (certain) return true
  const told = removed.has(record.pilot)
  if (!told && isHeard(record, before)) return false
  if (job !== undefined) return true
  if (misses < MISSES) return false
  const parted = record.registeredAt !== undefined
  return told || parted || before?.state === 'ending' || listedAt - seenAt >= lateness
}

/** Whether a pilot that the queue does not show can still appear there. */
function mayStillCome(record: PilotRecord, listedAt: number, lateness: number): boolean {
  if (record.submittedAt !== undefined) return record.submittedAt >= listedAt
  return record.createdAt + lateness > listedAt
}

/** Whether its worker was heard of within the lease, on a connection that has not broken since; or registered since the last look. */
function isHeard({ worker, registeredAt }: PilotRecord, before: Sighting | undefined): boolean {
  if (worker !== undefined) return worker.state !== 'suspect'
  return registeredAt !== undefined && before?.registered === false
}

/** What the queue says; else what it said before, or else what is likely. */
function stateOf(
  job: Job | undefined,
  before: PilotView | undefined,
  registered: boolean,
): PilotView['state'] {
  if (job && job.state !== 'unknown' && job.state !== 'ended') return job.state
  const shown = before?.state === 'submitting' ? undefined : before?.state
  return shown ?? (registered || job ? 'running' : 'submitting')
}

/** @param job what the queue shows of it, if it shows it alive */
function view(
  record: PilotRecord,
  job: Job | undefined,
  before: PilotView | undefined,
  now: number,
): PilotView {
  const { pilot, worker } = record
  const registered = record.registeredAt !== undefined
  const state = stateOf(job, before, registered)
  return {
    pilot,
    state,
    registered,
    idle: worker?.state === 'active' && worker.leased === 0,
    since: before?.state === state ? before.since : now,
  }
}
