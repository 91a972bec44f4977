import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Node, openNetwork } from '../test/cluster/faults/network.ts'
import { fileOf, readEvents } from './bench-context/pilot-files.ts'
import { NAME, verifierContext } from './bench-context/verifier.ts'
import { runFactory } from './support/running-factory.ts'

/*
 * How soon a pilot works that starts beside a warm one: from the moment its pilot.sh is run to the result of its first task,
 * on a link of 1 Gbit/s of its own, over which the context comes. The bound is what cannot be saved: the bytes over the link,
 * and the load as a bare process does it. Measured twice: on a node that has booted pilots before, but never had the context;
 * and on one that never had a pilot, where the runtime comes over the link too, from the manager, and is unpacked.
 *
 *   sudo npm run bench:resume
 */

const { values } = parseArgs({
  options: {
    weights: { type: 'string', default: '256' },
    /** As `tc` has it. */
    rate: { type: 'string', default: '1gbit' },
    'bytes-per-second': { type: 'string', default: '125000000' },
  },
})
const bytes = Number(values.weights) * 2 ** 20

if (process.getuid?.() !== 0) {
  console.error('bench:resume makes network namespaces: run it as root')
  process.exit(2)
}

const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-resume-'))
try {
  const known = await resume('known')
  const fresh = await resume('fresh')
  const link = Number(values['bytes-per-second'])
  const boundOf = ({ bareLoad }: Start) => bytes / link + bareLoad
  const lines = { 'known node': known, 'fresh node': fresh }
  console.table(
    Object.fromEntries(
      Object.entries(lines).map(([name, { runtime, fetch, load, total }]) => {
        const seconds = { runtime, fetch, load, 'first task': total - runtime - fetch - load, total }
        return [name, Object.fromEntries(Object.entries(seconds).map(([what, s]) => [what, hundredth(s)]))]
      }),
    ),
  )
  console.log(
    JSON.stringify({
      ...report(known, boundOf(known)),
      fresh_node: {
        ...report(fresh, boundOf(fresh) + fresh.runtimeBytes / link),
        runtime_mb: Math.round(fresh.runtimeBytes / 1e6),
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
  total: number
  runtimeBytes: number
  /** The load in a bare process, as its neighbour works on. */
  bareLoad: number
}

function report({ runtime, fetch, load, total, bareLoad }: Start, bound: number) {
  return {
    total_s: hundredth(total),
    runtime_s: hundredth(runtime),
    fetch_s: hundredth(fetch),
    load_s: hundredth(load),
    bare_load_s: hundredth(bareLoad),
    bound_s: hundredth(bound),
    ratio: hundredth(total / bound),
  }
}

/** From the exec of pilot.sh, on a node that has booted pilots before or on one that has not. */
async function resume(kind: 'known' | 'fresh'): Promise<Start> {
  const own = join(folder, kind)
  await mkdir(own)
  using network = openNetwork()
  const warm = network.node()
  const fresh = network.node()
  for (const node of [warm, fresh]) shape(node)
  const gate = join(own, 'gate')
  const config = {
    manager: { listen: `${network.address}:0`, idle: '10m' },
    sites: {
      warm: await site(own, 'warm', warm, 'true'),
      // Its job waits in the queue, as it were, until the gate opens.
      fresh: await site(own, 'fresh', fresh, `until [ -e '${gate}' ]; do sleep 0.02; done`),
    },
  }
  const context = verifierContext(bytes)
  await using factory = await runFactory(config, { [NAME]: context }, own)
  const job = await factory.client.createJob({ name: 'resume', context: NAME })
  const claims = Array.from({ length: 20 }, (_, i) => `claim number ${i} of those that wait`)
  await job.add(Array.from({ length: 20_000 }, (_, i) => ({ key: String(i), input: claims })))
  await job.close()
  /** The worker that was there first. */
  let opened: string | undefined
  let bareLoad = 0
  for await (const { worker } of job.results()) {
    if (opened === undefined) {
      opened = worker
      if (kind === 'known') {
        await mkdir(cacheOf(own, 'fresh'))
        execFileSync('cp', ['-al', join(cacheOf(own, 'warm'), 'runtime'), cacheOf(own, 'fresh')])
      }
      // The neighbour works on meanwhile, as it will while the pilot loads: here, it does so on the same machine.
      bareLoad = await loadBare(own)
      await writeFile(gate, '')
    } else if (worker !== opened) break
  }
  const endedAt = Date.now()
  await job.cancel()
  return { ...(await account(factory.state, endedAt)), bareLoad }
}

function cacheOf(own: string, name: string): string {
  return join(own, `cache-${name}`)
}

/** A site whose pilot runs on a node of its own. */
async function site(own: string, name: string, node: Node, before: string) {
  const template = join(own, `${name}.sh`)
  const jobs = 'read -r stat </proc/self/stat\nread -r boot </proc/sys/kernel/random/boot_id\n'
  const note = `printf '%s %s\\n' "$boot" "$stat" >"jobs/.$1" && mv "jobs/.$1" "jobs/$1"\n`
  const run = `date +%s%3N >"jobs/.started.$1"\nexec ${node.prefix.join(' ')} /bin/sh ./pilot.sh "$1"\n`
  await writeFile(template, `#!/bin/sh\n${jobs}${note}${before}\n${run}`)
  return {
    kind: 'local',
    policy: 'fixed',
    count: 1,
    cpus: 1,
    poll: 0.25,
    template,
    cacheFolder: cacheOf(own, name),
    // As if the node saw none of the submit node's files: what it lacks comes over its link.
    setup: 'GLEANER_RUNTIME_FILE= GLEANER_RUNTIME_ZSTD_FILE=',
  }
}

async function account(state: string, endedAt: number): Promise<Omit<Start, 'bareLoad'>> {
  const [submission] = await readdir(join(state, 'submissions', 'fresh'))
  const settings = await readFile(join(state, 'submissions', 'fresh', submission!, 'pilot.env'), 'utf8')
  const [, archive] = /^GLEANER_RUNTIME_ZSTD_FILE='?(.*?)'?$/m.exec(settings)!
  const [pilot] = (await readFile(join(state, 'submissions', 'fresh', submission!, 'pilots'), 'utf8')).split(
    '\n',
  )
  const startedAt = Number(
    await readFile(await fileOf(state, 'fresh', join('jobs', `.started.${pilot}`)), 'utf8'),
  )
  const events = await readEvents(await fileOf(state, 'fresh', join('logs', `${pilot}.log`)))
  const at = (type: string) => events.find((event) => event.type === type)!.at
  const between = (from: number, to: number) => (to - from) / 1000
  return {
    runtime: between(startedAt, at('fetching')),
    fetch: between(at('fetching'), at('fetched')),
    load: between(at('loading'), at('loaded')),
    total: between(startedAt, endedAt),
    runtimeBytes: (await stat(archive!)).size,
  }
}

/** The same load in a process that does nothing else: from its start until it is ready, seconds. */
async function loadBare(own: string): Promise<number> {
  const app = join(own, NAME, 'app', 'verify.mjs')
  const program = fileURLToPath(new URL('bench-resume/bare.ts', import.meta.url))
  const startedAt = performance.now()
  const child = fork(program, [app], { execArgv: [] })
  await once(child, 'message')
  const seconds = (performance.now() - startedAt) / 1000
  child.kill()
  return seconds
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
