import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import {
  type Client,
  type Job as ClientJob,
  type ResultRow,
  type Status,
  connect,
} from '../../../src/client/index.ts'
import { loadConfig } from '../../../src/factory/config/load-config.ts'
import type { SiteConfig } from '../../../src/factory/config/config.ts'
import { batchSite } from '../../../src/factory/sites/batch-site.ts'
import { htcondor } from '../../../src/factory/sites/htcondor.ts'
import type { Job, Site } from '../../../src/factory/sites/site.ts'
import { slurm } from '../../../src/factory/sites/slurm.ts'
import { submissionsFolder } from '../../../src/factory/submissions/submission.ts'
import { eventually } from '../../factory/support/eventually.ts'
import {
  attachArguments,
  type AttachedTerminal,
  attachedTerminal,
} from '../../shells/support/attached-terminal.ts'
import { inside, researcher, sharedFolder, testbed } from './testbed.ts'

/** A context whose tasks take as long as they are told, and write down when they begin. */
const CONTEXT = `
name: words
bundles: { code: code }
library: module
setup: { bundle: code, file: words.js }
functions:
  work: { export: work }
`
const CODE = `
import { appendFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
export async function work({ word, ms, log, poison }) {
  if (poison && process.env.SLURMD_NODENAME === poison) throw new Error('this node is broken')
  if (log) appendFileSync(log, word + '\\n')
  await delay(ms)
  return word.toUpperCase()
}
`

/** A factory of the researcher's on the testbed's batch systems, and all one needs to work with it and against it. */
export interface Plant extends AsyncDisposable {
  folder: string
  client: Client
  /** Starts `factory start`, as at first and after it was killed. */
  start(): Promise<ChildProcess>
  /** Runs a command of the researcher's where the factory runs. @returns what it prints */
  factory(...args: string[]): Promise<string>
  /** Starts `factory attach` in a terminal. */
  attach(pilot: string, ...command: string[]): AttachedTerminal
  status(): Promise<Status>
  /** What the batch systems show of this factory's pilots, all sites together. */
  jobs(): Promise<(Job & { site: string })[]>
  /** All results of a job, when it has finished. */
  results(job: ClientJob): Promise<ResultRow[]>
  /** Runs tasks and gives their results, when all are there. */
  run(
    name: string,
    tasks: Iterable<Task>,
    options?: { context?: string; retries?: number },
  ): Promise<ResultRow[]>
}

export type Task = { key: string; input: ResultRow['value'] & {} }

/** Tasks of the context `words`. */
export const words = (count: number, ms: number, log?: string): Task[] =>
  Array.from({ length: count }, (_, i) => ({
    key: `t${i}`,
    input: { word: `word ${i}`, ms, ...(log !== undefined && { log }) },
  }))

/** Keys of a Slurm site whose pilots have a node each: whoever takes one pilot's node takes no other's. */
export const alone = { memory: '5GB' }

/**
 * @param sites as in factory.yaml
 * @param more other keys of factory.yaml
 * @param prefix what goes before the factory's own commands, where they run in another network: only they reach the manager then
 */
export function clusterPlant(
  sites: Record<string, object>,
  more: { contexts?: string[] } & Record<string, unknown> = {},
  prefix: string[] = [],
): Plant {
  const shared = sharedFolder('plant')
  const { folder } = shared
  const state = join(folder, 'state')
  for (const name of ['state', 'words/code']) mkdirSync(join(folder, name), { recursive: true })
  writeFileSync(join(folder, 'words/context.yaml'), CONTEXT)
  writeFileSync(join(folder, 'words/code/words.js'), CODE)
  writeFileSync(join(folder, 'words/code/package.json'), '{"type":"module"}')
  const common = {
    poll: 1,
    submitRate: 60,
    memory: '256MB',
    walltime: '30m',
    grace: 5,
    cacheFolder: join(folder, 'cache'),
  }
  const config = {
    ...more,
    contexts: [join(folder, 'words'), ...(more.contexts ?? [])],
    sites: Object.fromEntries(Object.entries(sites).map(([name, site]) => [name, { ...common, ...site }])),
  }
  const configFile = join(state, 'factory.yaml')
  writeFileSync(configFile, JSON.stringify(config))
  execFileSync('chown', ['-R', `${testbed.uid}:${testbed.gid}`, folder])

  const client = connect({ state })
  const started: ChildProcess[] = []
  let queues: { config: SiteConfig; site: Site }[] = []

  const node = join(testbed.project, 'node_modules/.bin/node')
  const program = [node, join(testbed.project, 'bin/factory.js'), '--state', state]
  const command = (args: string[]) =>
    [...prefix, ...inside('researcher', ...program, ...args)] as [string, ...string[]]

  async function start(): Promise<ChildProcess> {
    const [file, ...args] = command(['start'])
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    started.push(child)
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('factory start has ended')))
    ended.catch(() => {})
    await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])
    child.stdout.resume()
    return child
  }

  async function jobs() {
    if (queues.length === 0) queues = openQueues(configFile, state)
    const signal = AbortSignal.timeout(60_000)
    const listed = await Promise.all(
      queues.map(async ({ config: { name }, site }) =>
        (await site.list(signal)).jobs.map((job) => ({ ...job, site: name })),
      ),
    )
    return listed.flat().filter((job) => job.state !== 'ended')
  }

  return {
    folder,
    client,
    start,
    async factory(...given) {
      const [file, ...args] = command(given)
      return (await promisify(execFile)(file, args, { maxBuffer: 64 << 20 })).stdout
    },
    attach: (pilot, ...given) => attachedTerminal(command(attachArguments(pilot, given))),
    status: () => client.status(),
    jobs,
    results,
    async run(name, tasks, { context = 'words', retries = 0 } = {}) {
      const job = await client.createJob({ name, context, options: { retries } })
      await job.add(tasks)
      await job.close()
      return results(job)
    },
    async [Symbol.asyncDispose]() {
      await client.close()
      for (const child of started) {
        if (child.exitCode !== null || child.signalCode !== null) continue
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      await eventually('no job is left in any queue', async () => (await jobs()).length === 0, 90)
      shared[Symbol.dispose]()
    },
  }
}

function results(job: ClientJob): Promise<ResultRow[]> {
  const read = async () => {
    const rows: ResultRow[] = []
    for await (const row of job.results()) rows.push(row)
    return rows
  }
  const rows = read()
  // Whoever waits for them hears of it; until then it is nobody's fault.
  rows.catch(() => {})
  return rows
}

function openQueues(configFile: string, state: string): { config: SiteConfig; site: Site }[] {
  const factoryId = findFactoryId(state)
  if (factoryId === undefined) return []
  return loadConfig([configFile]).sites.flatMap((config) => {
    if (config.kind === 'local') return []
    const folder = submissionsFolder(state, config.name)
    const site =
      config.kind === 'slurm'
        ? batchSite(slurm, config, factoryId, folder, researcher())
        : batchSite(htcondor, config, factoryId, folder, researcher())
    return { config, site }
  })
}

/** How the factory's jobs are told apart, from the first that it submitted. */
function findFactoryId(state: string): string | undefined {
  const [jobFile] = globSync(join(state, 'submissions/*/*/{slurm.sh,htcondor.sub}'))
  const pattern = /--job-name=gleaner-(\w+)-|GleanerFactory = "(\w+)"/
  const match = jobFile === undefined ? undefined : pattern.exec(readFileSync(jobFile, 'utf8'))
  return match?.[1] ?? match?.[2]
}

/** The worker of a pilot of this plant: the number of its process, which is the same inside and outside. */
export function workerProcess(plant: Plant, pilot: string): number | undefined {
  const endpoint = readFileSync(join(plant.folder, 'state/endpoint.json'), 'utf8')
  const manager = `GLEANER_MANAGER=${(JSON.parse(endpoint) as { url: string }).url}`
  const isIt = (pid: string) => {
    const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'latin1').split('\0')
    try {
      const environment = read('environ')
      const token = environment.find((variable) => variable.startsWith('GLEANER_TOKEN_FILE='))
      return (
        environment.includes(manager) &&
        token?.endsWith(`/${pilot}.token`) &&
        read('cmdline')[1]?.endsWith('/worker.js')
      )
    } catch {
      // It has ended since.
      return false
    }
  }
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .find(isIt)
  return found === undefined ? undefined : Number(found)
}
