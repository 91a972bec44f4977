import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ContextMode } from '../../../src/protocol/contexts/context.ts'
import { type RunningFactory, runFactory } from '../../support/running-factory.ts'
import type { PilotHistory } from './pilot-time-account.ts'
import { fileOf, readEvents } from './pilot-job-files.ts'
import { NAME } from './large-weights-context.ts'

/** One run of a job on a pool of pilots of this machine. */
export interface RunOptions {
  /** Holds the factory's state from run to run, so that its runtime is packed once. */
  folder: string
  context: Record<string, string | Uint8Array>
  mode: ContextMode
  /** Pilots of one CPU each. */
  pilots: number
  /** Each a list of claims. */
  tasks: string[][]
  /** How many pilots are killed, one after the other, as the work goes on. */
  evictions: number
}

export interface PoolRun {
  /** From the submission of the job to its last result. */
  seconds: number
  pilots: PilotHistory[]
  /** Claims done by seconds since the submission. */
  done: [seconds: number, claims: number][]
  startedAt: number
}

const now = () => performance.timeOrigin + performance.now()

export async function runPool(options: RunOptions): Promise<PoolRun> {
  const { folder, mode, pilots, tasks, context } = options
  // Nodes know the runtime, but not yet the context.
  await rm(join(folder, 'cache', 'bundles'), { recursive: true, force: true })
  const config = {
    sites: { here: { kind: 'local', policy: 'fixed', count: pilots, cpus: 1, poll: 0.25, submitRate: 6000 } },
    manager: { contextMode: mode, idle: '10m' },
  }
  const killedAt = new Map<string, number>()
  const arrivals: Arrival[] = []
  let startedAt: number
  let endedAt: number
  {
    await using factory = await runFactory(config, { [NAME]: context }, folder)
    startedAt = now()
    const job = await factory.client.createJob({ name: `${mode} ${startedAt}`, context: NAME })
    await job.add(tasks.map((claims, i) => ({ key: String(i), input: claims })))
    await job.close()
    for await (const { results } of job.pages({ waitMs: 10_000 })) {
      for (const { key, worker, ms, status } of results) {
        if (status !== 'done') throw new Error(`task ${key} has failed`)
        arrivals.push({ at: now(), worker: worker!, ms, claims: tasks[Number(key)]!.length })
      }
      while (killedAt.size < due(options, arrivals.length)) killedAt.set(...(await evict(factory, killedAt)))
    }
    endedAt = now()
  }
  const done: PoolRun['done'] = [[0, 0]]
  for (const { at, claims } of arrivals) done.push([(at - startedAt) / 1000, done.at(-1)![1] + claims])
  const histories = await readHistories(join(folder, 'state'), startedAt, endedAt, killedAt, arrivals)
  return { seconds: (endedAt - startedAt) / 1000, startedAt, done, pilots: histories }
}

interface Arrival {
  at: number
  worker: string
  ms: number
  claims: number
}

/** How many pilots should have been killed by now: evictions are spread evenly over the work. */
function due({ evictions, tasks }: RunOptions, done: number): number {
  return Math.min(evictions, Math.floor((done / tasks.length) * (evictions + 1)))
}

/** Kills the pilot that has run longest, with everything it started and without a warning. */
async function evict({ client, state }: RunningFactory, killed: Map<string, number>) {
  const { workers } = await client.status()
  const [oldest] = workers
    .filter(({ pilot }) => !killed.has(pilot))
    .sort((a, b) => Number(a.id.slice(1)) - Number(b.id.slice(1)))
  if (!oldest) throw new Error('no pilot is left to be evicted')
  const { pilot } = oldest
  const [, pid] = (await readFile(await fileOf(state, 'here', join('jobs', pilot)), 'utf8')).split(' ')
  process.kill(-Number(pid), 'SIGKILL')
  return [pilot, now()] as const
}

async function readHistories(
  state: string,
  startedAt: number,
  endedAt: number,
  killedAt: Map<string, number>,
  arrivals: Arrival[],
): Promise<PilotHistory[]> {
  using ledger = new DatabaseSync(join(state, 'ledger.db'), { readOnly: true })
  const rows = ledger
    .prepare(
      `SELECT pilots.id AS pilot, submitted_at, workers.id AS worker, workers.registered_at
       FROM pilots LEFT JOIN workers ON workers.pilot = pilots.id WHERE submitted_at BETWEEN ? AND ?`,
    )
    .all(Math.floor(startedAt), Math.ceil(endedAt))
  return await Promise.all(
    rows.map(async (row): Promise<PilotHistory> => {
      const pilot = `p${row.pilot as number}`
      const worker = `w${row.worker as number}`
      const end = killedAt.get(pilot)
      return {
        startedAt: row.submitted_at as number,
        ...(row.registered_at !== null && { registeredAt: row.registered_at as number }),
        endedAt: end ?? endedAt,
        evicted: end !== undefined,
        events: await readEvents(await fileOf(state, 'here', join('logs', `${pilot}.log`))),
        results: arrivals.filter((arrival) => arrival.worker === worker),
      }
    }),
  )
}
