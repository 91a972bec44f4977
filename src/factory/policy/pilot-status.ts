import type { PilotStatus } from '../../protocol/status.ts'
import { pilotStates, type SiteSnapshot } from './site-status.ts'

/** What users are told of each pilot of a site that has not ended. */
export function pilotStatuses({ config, pilots, jobs, records }: SiteSnapshot): PilotStatus[] {
  const jobOf = new Map(jobs.map((job) => [job.pilot, job]))
  const recordOf = new Map(records.map((record) => [record.pilot, record]))
  const stateOf = pilotStates(records)
  return pilots.map((view) => {
    const { pilot } = view
    const job = jobOf.get(pilot)
    const { worker, jobId = job?.jobId, createdAt, submittedAt, registeredAt } = recordOf.get(pilot) ?? {}
    const state = stateOf(view)
    const node = worker?.node ?? job?.node
    const waits = state === 'pending' || state === 'held'
    return {
      pilot,
      site: config.name,
      state,
      ...(jobId !== undefined && { jobId }),
      ...(node !== undefined && { node }),
      ...(waits && job?.reason !== undefined && { reason: job.reason }),
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
