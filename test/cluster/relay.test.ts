import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { sshConfig, workstation } from './support/login-node.ts'
import { alone, clusterPlant, words } from './support/cluster-factory.ts'
import { run, sharedFolder } from './support/testbed.ts'

const WEIGHTS = 24 << 20

/** A context whose tasks take as long as they are told, with some weights, in a folder. */
function writeLarge(folder: string): string {
  mkdirSync(join(folder, 'code'), { recursive: true })
  const yaml = [
    'name: large',
    'bundles: { code: code }',
    'library: module',
    'setup: { bundle: code, file: wait.mjs }',
    'functions: { wait: { export: wait } }',
  ]
  writeFileSync(join(folder, 'context.yaml'), yaml.join('\n'))
  writeFileSync(
    join(folder, 'code/wait.mjs'),
    'export const wait = ({ ms }) => new Promise((done) => setTimeout(done, ms, ms))',
  )
  writeFileSync(join(folder, 'code/weights.bin'), randomBytes(WEIGHTS))
  return folder
}

test('a factory that no node reaches works on Slurm, HTCondor and its own machine through one SSH connection, and sends a context over it once', async () => {
  await using here = await workstation()
  using shared = sharedFolder('relay')
  const { folder } = shared
  const transport = { ssh: 'login', config: sshConfig(folder, here.login), folder: join(folder, 'far end') }
  const behind = { transport, relay: { address: '127.0.0.1' }, shell: true }
  // A cache for each node: what is in one does not help the others.
  const cache = (name: string) => ({ cacheFolder: join(folder, `cache-${name}`) })
  await using plant = clusterPlant(
    {
      slurm: { kind: 'slurm', count: 2, partition: 'low', ...behind, ...alone, ...cache('$SLURMD_NODENAME') },
      htcondor: { kind: 'htcondor', count: 1, ...behind, ...cache('htcondor') },
      here: { kind: 'local', count: 1, ...cache('here') },
    },
    { contexts: [writeLarge(join(folder, 'large'))] },
    here.prefix,
  )
  await plant.start()
  const { url } = JSON.parse(readFileSync(join(plant.folder, 'state/endpoint.json'), 'utf8')) as {
    url: string
  }
  const { port } = new URL(url)
  assert.throws(() => run('researcher', 'bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${port}`), 'nodes dial it')
  // Only a command over there reaches the manager, and each is a process: hence the pause.
  const workers = async () => {
    await sleep(1_000)
    return (JSON.parse(await plant.factory('status', '--json')) as Status).workers
  }
  const holders = async () =>
    (await workers()).filter(({ contexts }) =>
      contexts.some(({ context, level }) => context === 'large' && level !== 'absent'),
    )

  /** Has a job run, by a file of tasks; gives the keys of its results. */
  let jobs = 0
  const runJob = async (context: string, tasks: object[]): Promise<string[]> => {
    jobs += 1
    const [file, out] = ['tasks', 'results'].map((name) => join(plant.folder, `${name}${jobs}.jsonl`)) as [string, string] // prettier-ignore
    writeFileSync(file, tasks.map((task, i) => JSON.stringify({ id: `t${i}`, ...task })).join('\n'))
    await plant.factory('run', file, '--context', context, '--out', out)
    const rows = readFileSync(out, 'utf8').trim().split('\n')
    return rows.map((row) => (JSON.parse(row) as { id: string }).id)
  }
  // More than is ever done, so that all pilots come, however long one of them takes.
  const busy = runJob(
    'words',
    words(20_000, 60).map(({ input }) => input as object),
  )
  await Promise.race([busy, until(async () => (await workers()).length === 4)])
  await Promise.all([plant.factory('cancel', '1'), assert.rejects(busy)])

  const count = 400
  const run400 = () =>
    runJob(
      'large',
      Array.from({ length: count }, () => ({ ms: 60 })),
    )
  const before = here.link.passed
  await Promise.all([run400(), until(async () => (await holders()).length === 4)])
  const passed = here.link.passed - before
  assert.ok(passed > WEIGHTS && passed < WEIGHTS * 1.2, `${passed} bytes for three pilots over there`)

  const [{ pilot: victim } = { pilot: '' }] = (await workers()).filter(({ site }) => site === 'slurm')
  assert.match(await plant.factory('exec', victim, '--', 'sh', '-c', 'echo on $SLURMD_NODENAME'), /^on n\d$/m)
  using terminal = plant.attach(victim, 'sh')
  await terminal.shows(/[$#] /)
  terminal.type('echo "here: $SLURMD_NODENAME"; stty size\r')
  await terminal.shows(/here: n\d/)
  await terminal.shows('25 81')
  terminal.type('echo beg"un"; sleep 1000\r')
  await terminal.shows('begun')
  terminal.type('\x03')
  await terminal.shows(/[$#] /)
  terminal.type('exit 7\r')
  assert.equal(await terminal.ended, 7)
  const job = (await plant.jobs()).find(({ pilot }) => pilot === victim)!
  const ran = run400()
  here.link.cut()
  run('researcher', 'scontrol', 'requeue', job.jobId)
  const keys = await ran
  assert.equal(keys.length, count)
  assert.equal(new Set(keys).size, count)
  const sites = new Set((await workers()).map(({ site }) => site))
  assert.deepEqual(sites, new Set(['slurm', 'htcondor', 'here']))
})
