import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '../../../src/client/index.ts'
import { farSlurm } from '../../../test/factory/transports/ssh/fake-remote-slurm.ts'
import { knownHost, startSshd } from '../../../test/factory/transports/ssh/sshd.ts'
import { until } from '../../../test/support/until.ts'
import { runFactory } from '../../support/running-factory.ts'
import { buildClosedCluster, type ClosedCluster } from './closed-cluster.ts'
import { processorTimes as timesOfProcesses, takenBetween } from '../../support/processor-times.ts'
import { startLink } from './wide-link-process.ts'

export type Link = { delay: number; rate: number }

const CODE = `
export const answer = (input) => input
export const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))`
const contextOf = (name: string, more: Record<string, Uint8Array>) => ({
  [name]: {
    'context.yaml': [
      `name: ${name}`,
      'bundles: { code: code }',
      'library: module',
      'setup: { bundle: code, file: code.mjs }',
      'functions: { answer: { export: answer }, wait: { export: wait } }',
    ].join('\n'),
    'code/code.mjs': CODE,
    ...more,
  },
})

/** Of a node, as `tc` has it. */
const LOCAL_LINK = '1gbit'

type Far = { client: Client; carried: () => Promise<{ out: number; back: number }> }

/** A factory here whose only site is behind a wide link, with so many pilots; which are up when this begins. */
async function withPilots<T>(
  cluster: ClosedCluster,
  pilots: number,
  link: Link,
  way: 'relay' | 'direct',
  contexts: Record<string, Record<string, string | Uint8Array>>,
  work: (far: Far) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-bench-remote-'))
  try {
    await using sshd = await startSshd([], ['HostName 127.0.0.1'], {
      prefix: cluster.onLogin,
      address: cluster.login,
    })
    const toLogin = {
      to: { host: cluster.login, port: sshd.port },
      at: { host: '127.0.0.1', port: 0 },
      ...link,
    }
    await using wide = await startLink(toLogin)
    await writeFile(sshd.knownHosts, knownHost(`[127.0.0.1]:${wide.port}`, sshd.hostKey))
    const [managerPort, dialled] = [9_741, 9_742]
    const back = {
      to: { host: cluster.here, port: managerPort },
      at: { host: cluster.here, port: dialled },
      ...link,
    }
    await using _direct = await startLink(back)
    // Nodes have disks of their own; what pilots boot from is unpacked once all the same, which is not what is measured.
    await mkdir(join(folder, 'runtime'))
    for (let index = 0; index < pilots; index++) {
      await mkdir(join(folder, `cache-n${index}`), { mode: 0o700 })
      await symlink(join(folder, 'runtime'), join(folder, `cache-n${index}`, 'runtime'))
    }
    const srun = join(folder, 'srun')
    const node = way === 'relay' ? `${cluster.nodePrefix}$SLURM_ARRAY_TASK_ID` : cluster.onLogin.at(-1)!
    await writeFile(srun, `#!/bin/sh\nexec ip netns exec ${node} "$@"\n`)
    await chmod(srun, 0o755)
    const slurm = farSlurm(folder, srun)
    const site = {
      ...{ kind: 'slurm', count: pilots, memory: 'none', poll: 1, shell: true },
      cacheFolder: join(folder, 'cache-$SLURMD_NODENAME'),
      transport: { ssh: `login:${wide.port}`, config: sshd.config, folder: join(folder, 'far') },
      commandEnvironment: { ...slurm.environment, PATH: `${slurm.environment['PATH']}:/usr/sbin:/sbin` },
      ...(way === 'relay' && { relay: { address: cluster.loginInside } }),
    }
    const manager =
      way === 'relay'
        ? {}
        : { listen: `${cluster.here}:${managerPort}`, url: `https://${cluster.here}:${dialled}` }
    await using factory = await runFactory(
      { manager, sites: { far: site } },
      { ...contextOf('small', {}), ...contexts },
      join(folder, 'here'),
    )
    const { client } = factory
    const first = await client.createJob({ name: 'first', context: 'small' })
    await first.add(Array.from({ length: pilots * 50 }, (_, i) => ({ key: String(i), input: i })))
    await first.close()
    await until(async () => {
      const { workers } = await client.status()
      const { done } = await first.info()
      return done === pilots * 50 && workers.length === pilots
    }, 400_000)
    return await work({ client, carried: () => wide.carried() })
  } catch (error) {
    console.error(await readFile(join(folder, 'here/state/factory.log'), 'utf8').catch(() => ''))
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Measures work of pilots that cannot reach the manager but through a relay, and of the same that dial it. */
export async function measureDispatch(link: Link, calls: number) {
  using cluster = buildClosedCluster(2, LOCAL_LINK)
  const direct = await withPilots(cluster, 2, link, 'direct', {}, (far) => rate(far, calls))
  const relay = await withPilots(cluster, 2, link, 'relay', {}, (far) => rate(far, calls))
  return { calls, direct: Math.round(direct), relay: Math.round(relay), share: relay / direct }
}

/**
 * Measures how long a key in a terminal takes to its echo, through a relay: while nothing else crosses the wide link, and while a
 * context of so many MiB does. Milliseconds.
 */
export async function measureEcho(link: Link, megabytes: number) {
  using cluster = buildClosedCluster(2, LOCAL_LINK)
  const large = contextOf('large', { 'code/weights.bin': randomBytes(megabytes << 20) })
  return await withPilots(cluster, 2, link, 'relay', large, async (far) => {
    const quiet = await echo(far, link)
    const before = await far.carried()
    await askForLarge(far, 2)
    await until(async () => (await far.carried()).out - before.out > BUSY_BYTES, 60_000)
    const { median, slowest } = await echo(far, link)
    const fetched = (await far.carried()).out - before.out
    if (fetched > megabytes * 2 ** 20)
      throw new Error('the context was there before the keys: give more --megabytes')
    return { ...quiet, whileFetching: { median, slowest } }
  })
}

/** When so much of a context has crossed, its fetch has got into its stride. */
const BUSY_BYTES = 16 << 20

/** Measures how long pilots behind a relay take to have a context, in seconds, and how many of its bytes come over the wide link. */
export async function measureContext(link: Link, pilots: number, megabytes: number) {
  using cluster = buildClosedCluster(pilots, LOCAL_LINK)
  const large = contextOf('large', { 'code/weights.bin': randomBytes(megabytes << 20) })
  return await withPilots(cluster, pilots, link, 'relay', large, (far) =>
    spread(far, pilots, megabytes, link),
  )
}

/** Calls a second that do nothing, results included, once the pilots have got into their stride. */
async function rate({ client }: Far, calls: number): Promise<number> {
  const times: number[] = []
  for (const count of [calls, calls, calls]) {
    const job = await client.createJob({ name: `calls ${times.length}`, context: 'small' })
    const began = performance.now()
    await job.add(Array.from({ length: count }, (_, i) => ({ key: String(i), input: i })))
    await job.close()
    await until(async () => (await job.info()).done === count)
    times.push(performance.now() - began)
  }
  return (calls / Math.min(...times.slice(1))) * 1000
}

async function echo({ client }: Far, { delay }: Link) {
  let heard = Promise.withResolvers<void>()
  const [{ pilot } = { pilot: 'p1' }] = (await client.status()).workers
  const shell = await client.openShell(pilot, {
    command: ['cat'],
    terminal: { columns: 80, rows: 24, type: 'xterm' },
    onOutput: () => {
      heard.resolve()
      return true
    },
  })
  shell.ended.catch(() => {})
  const times: number[] = []
  for (let key = 0; key < 21; key++) {
    heard = Promise.withResolvers()
    const began = performance.now()
    shell.write(Buffer.from('k'))
    await heard.promise
    times.push(performance.now() - began)
  }
  shell.close()
  // The first key waits for the terminal to open.
  const sorted = times.slice(1).sort((a, b) => a - b)
  return { keys: 20, median: sorted[10]!, slowest: sorted.at(-1)!, goal: 2 * 2 * delay + 20 }
}

/** Time of all processors of this machine so far, milliseconds: in use, and in all. */
function processorTimes() {
  const times = cpus().map(({ times: { idle, ...used } }) => ({ idle, used: sum(Object.values(used)) }))
  return { used: sum(times.map(({ used }) => used)), all: sum(times.map(({ idle, used }) => idle + used)) }
}
type ProcessorTimes = ReturnType<typeof processorTimes>

const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)

const shareInUse = (before: ProcessorTimes, after: ProcessorTimes) =>
  Math.round(((after.used - before.used) / (after.all - before.all)) * 100) / 100

/** Has all pilots want the large context. */
async function askForLarge({ client }: Far, pilots: number) {
  const job = await client.createJob({ name: 'large', context: 'large', function: 'wait' })
  await job.add(Array.from({ length: pilots * 200 }, (_, i) => ({ key: String(i), input: 1000 })))
  return job
}

/** What the processes of the measurement are, by their commands. */
const ROLES: [role: string, command: RegExp][] = [
  ['pilots', /worker\.js/],
  ['libraries', /library\.js/],
  ['relay', /relay\.js/],
  ['factory', /factory\.js start/],
  ['link', /wide-link/],
]
const roleOf = (command: string) => ROLES.find(([, has]) => has.test(command))?.[0] ?? 'others'

/** How often it is looked whether all have it, milliseconds: each look takes the factory's processor, which has other things to do. */
const LOOK_MS = 200

/** Has all pilots fetch a context at once. */
async function spread(far: Far, pilots: number, megabytes: number, { rate }: Link) {
  const { client, carried } = far
  const before = await carried()
  const job = await askForLarge(far, pilots)
  const began = performance.now()
  const used = processorTimes()
  const taken = timesOfProcesses()
  const haveAll = async () => {
    const { workers } = await client.status()
    const held = workers.filter(({ contexts }) =>
      contexts.some(({ context, level }) => context === 'large' && level !== 'absent'),
    )
    return held.length === pilots
  }
  await until(haveAll, 300_000, LOOK_MS)
  const seconds = (performance.now() - began) / 1000
  const processors = shareInUse(used, processorTimes())
  const processorSeconds = takenBetween(taken, timesOfProcesses(), roleOf)
  const after = await carried()
  await job.cancel()
  const bytes = megabytes * 2 ** 20
  const goal = 1.2 * (bytes / rate) + bytes / (1e9 / 8)
  const sent = after.out - before.out
  return {
    megabytes,
    pilots,
    crossed: Math.round((sent / bytes) * 1000) / 1000,
    seconds,
    goal,
    processors,
    processorSeconds,
    sent,
  }
}
