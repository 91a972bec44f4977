import type { PilotStatus } from '../../protocol/status.ts'
import { pilotStates, type SiteSnapshot } from './site-status.ts'

/** What is told of a pilot that has parted from its worker, until the queue says what became of it. */
const PARTED = {
  left: { state: 'ending', reason: 'its worker has left' },
  lost: { state: 'lost', reason: 'its worker is not heard of any more' },
} as const

/** What users are told of each pilot of a site that has not ended. */
export function pilotStatuses({ config, pilots, jobs, records, listedAt }: SiteSnapshot): PilotStatus[] {
  const jobOf = new Map(jobs.map((job) => [job.pilot, job]))
  const recordOf = new Map(records.map((record) => [record.pilot, record]))
  const stateOf = pilotStates(records)
  return pilots.map((view) => {
    const { pilot } = view
    const job = jobOf.get(pilot)
    const record = recordOf.get(pilot)
    const { worker, jobId = job?.jobId, createdAt, submittedAt, registeredAt } = record ?? {}
    const shown = stateOf(view)
    // What the manager has heard since the queue was seen is newer.
    const parted =
      shown === 'running' && record?.parted && record.parted.at > listedAt ? record.parted.how : undefined
    const state = parted === undefined ? shown : PARTED[parted].state
    const node = worker?.node ?? job?.node
    const waits = state === 'pending' || state === 'held'
    return {
      pilot,
      site: config.name,
      state,
      ...(jobId !== undefined && { jobId }),
      ...(node !== undefined && { node }),
      ...(waits && job?.reason !== undefined && { reason: job.reason }),
      ...(parted !== undefined && { reason: PARTED[parted].reason }),
      ...(createdAt !== undefined && { createdAt }),
      ...(submittedAt !== undefined && { submittedAt }),
      ...(registeredAt !== undefined && { registeredAt }),
      ...(worker && {
        worker: {
          id: worker.id,
          state: worker.state,
          leased: worker.leased,
          tasksDone: worker.tasksDone,
          tasksFailed: worker.tasksFailed,
        },
      }),
    }
  })
}
