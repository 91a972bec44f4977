import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../src/client/index.ts'
import { Random } from '../support/random.ts'
import { ManagerProcess } from '../support/manager-process.ts'
import { readAll, runClient } from './client.ts'
import { compare, SoakRecord } from './expected-ledger.ts'
import { runWorker } from './worker.ts'

export interface SoakOptions {
  /** State folder with the context that tasks are for. */
  folder: string
  kills: number
  /** Tasks that are acknowledged at least, in all. Default: as many as come about between the kills. */
  tasks?: number
  seed: number
  clients?: number
  workers?: number
  /** Told after each kill. */
  onKill?: (kills: number, record: SoakRecord) => void
}

export interface SoakReport {
  kills: number
  /** Kills of a manager that had not finished starting. */
  whileStarting: number
  clients: number
  workers: number
  /** Workers that ended without a word and were replaced. */
  workersKilled: number
  /** Tasks that were acknowledged to clients, and results that were acknowledged to workers. */
  tasks: number
  results: number
  /** Tasks that more than one worker computed: one result counts. */
  computedTwice: number
  problems: string[]
}

/** A kill comes when so many more tasks and results at most were acknowledged: work, not time, so that a slow machine does as much. */
const MOST_BETWEEN = 600
/** Chance that a kill does not wait for the manager to be ready, and that a worker dies at the same time. */
const EARLY = 0.1
const WORKER_DIES = 0.2
/** The work has stopped when nothing is acknowledged for this long, milliseconds. */
const STILL_MS = 120_000

/** Kills a manager under load again and again, lets the work come to its end, and compares the ledger with what others know. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { folder, kills, seed, tasks: atLeast = 0, clients = 3, workers = 6, onKill } = options
  const random = new Random(seed)
  const record = new SoakRecord()
  // An address of our own, so that each start finds the port free: no other connection ends there.
  const byte = () => Math.floor(Math.random() * 250) + 2
  const listen = { host: `127.${byte()}.${byte()}.${byte()}`, port: 20_000 }
  await using manager = new ManagerProcess(folder, { listen, scheduler: { suspectMs: 500 } })
  manager.start()
  const { url } = await manager.ready()
  const tokens = await manager.pilots(workers + kills)

  let over = false
  const submitting = Array.from({ length: clients }, (_, i) => {
    const name = `job${i}`
    return runClient({ state: folder, name, record, random: new Random(seed + i), isOver: () => over })
  })
  /** Of a worker. */
  const failure = Promise.withResolvers<never>()
  const supervisor: { abort: AbortController; done: Promise<void> }[] = []
  const hire = () => {
    const abort = new AbortController()
    const { token } = tokens.pop()!
    const own = new Random(random.between(1, 2 ** 31))
    const done = runWorker({ url, token, record, random: own, killed: abort.signal })
    done.catch(failure.reject)
    supervisor.push({ abort, done })
  }
  for (let i = 0; i < workers; i++) hire()

  const progress = () => acknowledged(record) + record.results
  let ended = false
  /** Fails when nothing moves any more. */
  async function progressTo(wanted: number): Promise<void> {
    for (let last = progress(), movedAt = performance.now(); progress() < wanted && !ended;) {
      await sleep(5)
      if (progress() !== last) [last, movedAt] = [progress(), performance.now()]
      else if (performance.now() - movedAt > STILL_MS)
        throw new Error(`nothing was acknowledged for ${STILL_MS} ms`)
    }
  }
  let whileStarting = 0
  let workersKilled = 0
  const killing = async () => {
    for (let kill = 1; kill <= kills; kill++) {
      await progressTo(progress() + random.between(0, MOST_BETWEEN))
      if (random.chance(WORKER_DIES)) {
        workersKilled++
        supervisor.splice(random.between(0, supervisor.length - 1), 1)[0]!.abort.abort()
        hire()
      }
      await manager.kill('SIGKILL')
      onKill?.(kill, record)
      manager.start()
      if (random.chance(EARLY)) whileStarting++
      else await manager.ready()
    }
    await manager.ready().catch(() => {})
    while (acknowledged(record) < atLeast) await progressTo(progress() + 1)
    over = true
    await Promise.race([Promise.all(submitting), progressTo(Infinity)]).finally(() => (ended = true))
  }
  await Promise.race([killing(), Promise.all(submitting), failure.promise])
  for (const { abort } of supervisor) abort.abort()
  await Promise.all(supervisor.map(({ done }) => done))

  await using client = connect({ state: folder })
  const problems: string[] = []
  for (const { id, name } of await client.jobs()) {
    const job = client.job(id)
    problems.push(...compare(record, name, await readAll(job, 20_000), await readAll(job, 777)))
  }
  const tasks = acknowledged(record)
  const { results, twice: computedTwice } = record
  const counts = { kills, whileStarting, clients, workers, workersKilled }
  return { ...counts, tasks, results, computedTwice, problems }
}

/** Tasks that were acknowledged to clients. */
function acknowledged({ acknowledged }: SoakRecord): number {
  return [...acknowledged.values()].reduce((sum, keys) => sum + keys.size, 0)
}
