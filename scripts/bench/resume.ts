import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Node, openNetwork } from '../../test/cluster/faults/network.ts'
import { readEvents } from './context/pilot-job-files.ts'
import { NAME, verifierContext } from './context/large-weights-context.ts'
import { runFactory } from '../support/running-factory.ts'

/*
 * How soon a pilot works that starts beside a warm one: from the moment its pilot.sh is run to the result of its first task,
 * on a link of 1 Gbit/s of its own, over which the context comes. The bound is what cannot be saved: the bytes over the link,
 * and the load as a bare process does it. Measured on two kinds of node: one that has booted pilots before, but never had the
 * context; and one that never had a pilot, where the runtime comes over the link too, from the manager, and is unpacked. Each
 * start is measured several times, and the median is told.
 *
 * All nodes are this machine. The warm one is a machine of its own in earnest: what its library computes takes nothing from
 * the pilot that starts. So its library is paused while something is measured, the bare load as well as the starts; its worker
 * is not, which is what sends the pieces. With --busy it works on, and takes a processor from all that is measured.
 *
 *   sudo npm run bench:resume [-- --busy]
 */

const { values } = parseArgs({
  options: {
    weights: { type: 'string', default: '256' },
    starts: { type: 'string', default: '3' },
    busy: { type: 'boolean', default: false },
    /** As `tc` has it. */
    rate: { type: 'string', default: '1gbit' },
    'bytes-per-second': { type: 'string', default: '125000000' },
  },
})
const bytes = Number(values.weights) * 2 ** 20
const client = Number(values['bytes-per-second'])

if (process.getuid?.() !== 0) {
  console.error('bench:resume makes network namespaces: run it as root')
  process.exit(2)
}

const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-resume-'))
try {
  const { bareLoads, known, fresh, runtimeBytes } = await measure()
  const bareLoad = median(bareLoads)
  const bound = bytes / client + bareLoad
  console.table({ 'known node': rounded(known), 'fresh node': rounded(fresh) })
  console.log(
    JSON.stringify({
      ...report(known, bound),
      bare_load_s: hundredth(bareLoad),
      fresh_node: {
        ...report(fresh, bound + runtimeBytes / client),
        runtime_mb: Math.round(runtimeBytes / 1e6),
      },
    }),
  )
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** What a pilot's start took, seconds. */
interface Start {
  runtime: number
  fetch: number
  load: number
  'first task': number
  total: number
}

function rounded(starts: Start[]): Start {
  const of = (what: keyof Start) => hundredth(median(starts.map((start) => start[what])))
  return {
    runtime: of('runtime'),
    fetch: of('fetch'),
    load: of('load'),
    'first task': of('first task'),
    total: of('total'),
  }
}

function report(starts: Start[], bound: number) {
  const { runtime, fetch, load, total } = rounded(starts)
  const totals = starts.map((start) => hundredth(start.total))
  const ratio = hundredth(median(starts.map((start) => start.total)) / bound)
  return {
    total_s: total,
    runtime_s: runtime,
    fetch_s: fetch,
    load_s: load,
    bound_s: hundredth(bound),
    ratio,
    totals_s: totals,
  }
}

async function measure() {
  using network = openNetwork()
  const nodes = { warm: network.node(), cold: network.node() }
  for (const node of Object.values(nodes)) shape(node)
  const gate = join(folder, 'gate')
  const config = {
    manager: { listen: `${network.address}:0`, idle: '10m' },
    sites: {
      warm: await site('warm', nodes.warm, 'true'),
      // Its job waits in the queue, as it were, until the gate opens, which lets one through.
      cold: await site(
        'cold',
        nodes.cold,
        `until mv '${gate}' '${gate}.passed' 2>/dev/null; do sleep 0.02; done`,
      ),
    },
  }
  await using factory = await runFactory(config, { [NAME]: verifierContext(bytes) }, folder)
  const job = await factory.client.createJob({ name: 'resume', context: NAME })
  const claims = Array.from({ length: 20 }, (_, i) => `claim number ${i} of those that wait`)
  await job.add(Array.from({ length: 20_000 }, (_, i) => ({ key: String(i), input: claims })))
  await job.close()
  const workers = new Set<string>()
  const results = job.results()[Symbol.asyncIterator]()
  /** When the first result of a worker came of which there was none before. */
  const newWorker = async () => {
    for (;;) {
      const { value, done } = await results.next()
      if (done) throw new Error('the tasks were done before the measurement was: there are too few of them')
      if (workers.has(value.worker!)) continue
      workers.add(value.worker!)
      return Date.now()
    }
  }

  await newWorker()
  const resumeLibraries = values.busy ? () => {} : await pauseLibraries('warm')
  const bareLoads: number[] = []
  let runtimeBytes = 0
  const start = async (kind: 'known' | 'fresh'): Promise<Start> => {
    await rm(cacheOf('cold'), { recursive: true, force: true })
    await mkdir(cacheOf('cold'))
    if (kind === 'known') execFileSync('cp', ['-al', join(cacheOf('warm'), 'runtime'), cacheOf('cold')])
    bareLoads.push(await loadBare())
    await writeFile(gate, '')
    const endedAt = await newWorker()
    const pilot = await lastPilot('cold')
    await takeBack(pilot)
    runtimeBytes = await runtimeBytesOf(pilot)
    return account(pilot, endedAt)
  }
  const several = async (kind: 'known' | 'fresh') => {
    const starts: Start[] = []
    while (starts.length < Number(values.starts)) starts.push(await start(kind))
    return starts
  }
  try {
    const known = await several('known')
    const fresh = await several('fresh')
    await job.cancel()
    return { bareLoads, known, fresh, runtimeBytes }
  } finally {
    resumeLibraries()
  }
}

function cacheOf(name: string): string {
  return join(folder, `cache-${name}`)
}

/** A site whose pilot runs on a node of its own. */
async function site(name: string, node: Node, before: string) {
  const template = join(folder, `${name}.sh`)
  const jobs = 'read -r stat </proc/self/stat\nread -r boot </proc/sys/kernel/random/boot_id\n'
  const note = `printf '%s %s\n' "$boot" "$stat" >"jobs/.$1" && mv "jobs/.$1" "jobs/$1"\n`
  const started = `printf '%s\n' "$1" "$$" "$(date +%s%3N)" "$PWD" >'${startedFile(name)}'\n`
  const run = `exec ${node.prefix.join(' ')} /bin/sh ./pilot.sh "$1"\n`
  await writeFile(template, `#!/bin/sh\n${jobs}${note}${before}\n${started}${run}`)
  return {
    kind: 'local',
    policy: 'fixed',
    count: 1,
    cpus: 1,
    poll: 0.25,
    submitRate: 6000,
    template,
    cacheFolder: cacheOf(name),
    // As if the node saw none of the submit node's files: what it lacks comes over its link.
    setup: 'GLEANER_RUNTIME_FILE= GLEANER_RUNTIME_ZSTD_FILE=',
  }
}

/** Where the pilot of a site that was started last has said so. */
function startedFile(name: string): string {
  return join(folder, `started-${name}`)
}

/** A pilot that was started: its process, when that was, and its submission's folder. */
interface Pilot {
  name: string
  pid: number
  startedAt: number
  submission: string
}

async function lastPilot(site: string): Promise<Pilot> {
  const [name, pid, startedAt, submission] = (await readFile(startedFile(site), 'utf8')).split('\n')
  return { name: name!, pid: Number(pid), startedAt: Number(startedAt), submission: submission! }
}

/** Bytes of the runtime that it has to be sent. */
async function runtimeBytesOf({ submission }: Pilot): Promise<number> {
  const settings = await readFile(join(submission, 'pilot.env'), 'utf8')
  const [, archive] = /^GLEANER_RUNTIME_ZSTD_FILE='?(.*?)'?$/m.exec(settings)!
  return (await stat(archive!)).size
}

async function account({ name, startedAt, submission }: Pilot, endedAt: number): Promise<Start> {
  const events = await readEvents(join(submission, 'logs', `${name}.log`))
  const at = (type: string) => events.find((event) => event.type === type)!.at
  const between = (from: number, to: number) => (to - from) / 1000
  return {
    runtime: between(startedAt, at('fetching')),
    fetch: between(at('fetching'), at('fetched')),
    load: between(at('fetched'), at('loaded')),
    'first task': between(at('loaded'), endedAt),
    total: between(startedAt, endedAt),
  }
}

/** Has a pilot leave, as a batch system does. */
async function takeBack({ pid }: Pilot): Promise<void> {
  process.kill(pid, 'SIGTERM')
  while (existsSync(`/proc/${pid}`)) await delay(50)
}

/** Stops what runs in the library processes of a site's node; returns how to have them go on. */
async function pauseLibraries(site: string): Promise<() => void> {
  const libraries: number[] = []
  for (const pid of (await readdir('/proc')).map(Number).filter((pid) => pid > 0)) {
    const [, ...args] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    const isLibrary = (arg: string) => arg.startsWith(cacheOf(site)) && arg.endsWith('library.js')
    if (args.some(isLibrary)) libraries.push(pid)
  }
  for (const pid of libraries) process.kill(pid, 'SIGSTOP')
  return () => {
    for (const pid of libraries) process.kill(pid, 'SIGCONT')
  }
}

/** The same load in a process that does nothing else: from its start until it is ready, seconds. */
async function loadBare(): Promise<number> {
  const app = join(folder, NAME, 'app', 'verify.mjs')
  const program = fileURLToPath(new URL('./resume/load-context-alone.ts', import.meta.url))
  const startedAt = performance.now()
  const child = fork(program, [app], { execArgv: [] })
  await once(child, 'message')
  const seconds = (performance.now() - startedAt) / 1000
  child.kill()
  await once(child, 'exit')
  return seconds
}

function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}

function hundredth(n: number): number {
  return Math.round(n * 100) / 100
}

function shape({ prefix }: Node): void {
  const name = prefix.at(-1)!
  const tbf = ['root', 'tbf', 'rate', values.rate, 'burst', '1m', 'latency', '100ms']
  execFileSync('tc', ['qdisc', 'add', 'dev', name, ...tbf])
  execFileSync('tc', ['-n', name, 'qdisc', 'add', 'dev', 'eth0', ...tbf])
}
