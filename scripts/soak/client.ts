import { connect, type Job } from '../../src/client/index.ts'
import type { ResultRow } from '../../src/protocol/client.ts'
import { CONTEXT } from '../../test/support/manager.ts'
import type { Random } from '../support/random.ts'
import type { SoakRecord } from './expected-ledger.ts'

/** Most tasks a client has under way. */
const AHEAD = 3_000

export interface SoakClient {
  state: string
  name: string
  record: SoakRecord
  random: Random
  /** No more tasks are to be added. */
  isOver: () => boolean
}

/**
 * Adds tasks, batch by batch, and reads their results as they come, with the client that applications use. Notes what was
 * acknowledged and what was read. Ends when every task has its result.
 */
export async function runClient(options: SoakClient): Promise<void> {
  const { state, name, record, random, isOver } = options
  await using client = connect({ state })
  const job = await client.createJob({ name, context: CONTEXT.name })
  const rows: ResultRow[] = []
  record.read.set(name, rows)
  let added = 0
  const adding = (async () => {
    while (!isOver()) {
      const batch = Array.from({ length: random.between(1, 400) }, (_, i) => {
        const key = `${name}-${added + i}`
        return { key, input: { key, text: 'x'.repeat(random.between(0, 300)) } }
      })
      // A failure throws; whether it was added before the manager was killed, the client finds out by itself.
      await job.add(batch)
      record.acknowledge(
        name,
        batch.map(({ key }) => key),
      )
      added += batch.length
      while (added - rows.length > AHEAD) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    await job.close()
  })()
  const reading = (async () => {
    for await (const row of job.results({ limit: 500, waitMs: 2_000 })) rows.push(row)
  })()
  await Promise.all([adding, reading])
}

/** The whole feed of a job, in pages of `limit`. */
export async function readAll(job: Job, limit: number): Promise<ResultRow[]> {
  const rows: ResultRow[] = []
  for await (const row of job.results({ limit })) rows.push(row)
  return rows
}
