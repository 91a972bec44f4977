import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
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
 * on a link of 1 Gbit/s of its own, over which the context comes. Its node has booted pilots before, but never had the
 * context. The bound is what cannot be saved: the bytes over the link, and the load as a bare process does it.
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
  const { runtime, fetch, load, total } = await resume()
  const bareLoad = await loadBare()
  const bound = bytes / Number(values['bytes-per-second']) + bareLoad
  const seconds = { runtime, fetch, load, 'first task': total - runtime - fetch - load, total, bound }
  console.table(
    Object.fromEntries(Object.entries(seconds).map(([what, s]) => [what, { seconds: hundredth(s) }])),
  )
  console.log(
    JSON.stringify({
      total_s: hundredth(total),
      runtime_s: hundredth(runtime),
      fetch_s: hundredth(fetch),
      load_s: hundredth(load),
      bare_load_s: hundredth(bareLoad),
      bound_s: hundredth(bound),
      ratio: hundredth(total / bound),
    }),
  )
} finally {
  await rm(folder, { recursive: true, force: true })
}

/** Seconds from the exec of pilot.sh, and what they went into. */
async function resume() {
  using network = openNetwork()
  const warm = network.node()
  const fresh = network.node()
  for (const node of [warm, fresh]) shape(node)
  const gate = join(folder, 'gate')
  const config = {
    manager: { listen: `${network.address}:0`, idle: '10m' },
    sites: {
      warm: await site('warm', warm, 'true'),
      // Its job waits in the queue, as it were, until the gate opens.
      fresh: await site('fresh', fresh, `until [ -e '${gate}' ]; do sleep 0.02; done`),
    },
  }
  const context = verifierContext(bytes)
  await using factory = await runFactory(config, { [NAME]: context }, folder)
  const job = await factory.client.createJob({ name: 'resume', context: NAME })
  const claims = Array.from({ length: 20 }, (_, i) => `claim number ${i} of those that wait`)
  await job.add(Array.from({ length: 20_000 }, (_, i) => ({ key: String(i), input: claims })))
  await job.close()
  /** The worker that was there first. */
  let opened: string | undefined
  for await (const { worker } of job.results()) {
    if (opened === undefined) {
      opened = worker
      // The node has booted pilots before.
      await mkdir(cacheOf('fresh'))
      execFileSync('cp', ['-al', join(cacheOf('warm'), 'runtime'), cacheOf('fresh')])
      await writeFile(gate, '')
    } else if (worker !== opened) break
  }
  const endedAt = Date.now()
  await job.cancel()
  return await account(factory.state, endedAt)
}

function cacheOf(name: string): string {
  return join(folder, `cache-${name}`)
}

/** A site whose pilot runs on a node of its own. */
async function site(name: string, node: Node, before: string) {
  const template = join(folder, `${name}.sh`)
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
    cacheFolder: cacheOf(name),
  }
}

async function account(state: string, endedAt: number) {
  const [submission] = await readdir(join(state, 'submissions', 'fresh'))
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
  }
}

/** The same load in a process that does nothing else: from its start until it is ready, seconds. */
async function loadBare(): Promise<number> {
  const app = join(folder, NAME, 'app', 'verify.mjs')
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
