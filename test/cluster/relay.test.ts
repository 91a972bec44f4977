import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Status } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { sshConfig, workstation } from './support/login-node.ts'
import { alone, clusterPlant } from './support/plant.ts'
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
    'export const wait = (ms) => new Promise((done) => setTimeout(done, ms, ms))',
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
  const workers = async () => (JSON.parse(await plant.factory('status', '--json')) as Status).workers
  const holders = async () =>
    (await workers()).filter(({ contexts }) =>
      contexts.some(({ context, level }) => context === 'large' && level !== 'absent'),
    )

  const input = join(plant.folder, 'tasks.jsonl')
  const out = join(plant.folder, 'out.jsonl')
  const count = 1500
  const tasks = Array.from({ length: count }, (_, i) => JSON.stringify({ id: `t${i}`, input: 60 }))
  writeFileSync(input, tasks.join('\n'))
  await until(async () => (await workers()).length === 4)
  const before = here.link.passed
  const ran = plant.factory('run', input, '--context', 'large', '--out', out)
  await until(async () => (await holders()).length === 4)
  const passed = here.link.passed - before
  assert.ok(passed > WEIGHTS && passed < WEIGHTS * 1.2, `${passed} bytes for three pilots over there`)

  const [{ pilot: victim } = { pilot: '' }] = (await workers()).filter(({ site }) => site === 'slurm')
  assert.match(await plant.factory('exec', victim, '--', 'sh', '-c', 'echo on $SLURMD_NODENAME'), /^on n\d$/m)
  here.link.cut()
  const job = (await plant.jobs()).find(({ pilot }) => pilot === victim)!
  run('researcher', 'scontrol', 'requeue', job.jobId)

  await ran
  const rows = readFileSync(out, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { id: string })
  assert.equal(rows.length, count)
  assert.equal(new Set(rows.map(({ id }) => id)).size, count)
  const sites = new Set((await workers()).map(({ site }) => site))
  assert.deepEqual(sites, new Set(['slurm', 'htcondor', 'here']))
})
