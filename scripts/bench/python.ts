/**
 * No-op calls from Python on a retained context, with two workers: npm run bench:python [-- --calls N]
 *
 * In one run, in the testbed's tree (scripts/testbed up): through our client; under Parsl on our executor; on Parsl's own
 * HighThroughputExecutor; and on one that does nothing, which shows what Parsl itself takes. The last line is JSON.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({ options: { calls: { type: 'string', default: '20000' } } })
const calls = Number(flags.calls)
if (!Number.isInteger(calls) || calls < 1) throw new Error(`--calls ${flags.calls}: give a whole number`)

const TESTBED = fileURLToPath(new URL('../testbed', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Parsl takes about a millisecond a call: fewer do. */
const PARSL_CALLS = Math.ceil(calls / 4)

const said = spawnSync(TESTBED, ['env'], { encoding: 'utf8' })
const testbed = JSON.parse(said.stdout) as { up: boolean; shared: string; uid: number; gid: number }
if (!testbed.up)
  throw new Error('the Python packages to compare with are in the testbed: run scripts/testbed up')

const folder = mkdtempSync(join(testbed.shared, 'bench-python-'))
const state = join(folder, 'state')
mkdirSync(state)
// JSON is YAML.
const site = { kind: 'local', count: 2, cacheFolder: join(folder, 'cache') }
writeFileSync(join(state, 'factory.yaml'), JSON.stringify({ contexts: [], sites: { here: site } }))
for (const path of [folder, state, join(state, 'factory.yaml')]) chownSync(path, testbed.uid, testbed.gid)

const inside = (...command: string[]) => ['exec', '--user', 'researcher', '--', ...command]

async function startFactory() {
  const node = join(ROOT, 'node_modules/.bin/node')
  const args = inside(node, join(ROOT, 'bin/factory.js'), '--state', state, 'start')
  const child = spawn(TESTBED, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the factory has ended')))
  ended.catch(() => {})
  await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])
  child.stdout.resume()
  return child
}

function measure(how: string, count: number): Record<string, unknown> {
  const env = [`PYTHONPATH=${join(ROOT, 'src/client/python')}`, `GLEANER_STATE=${state}`]
  const program = [join(ROOT, 'scripts/bench/python/calls.py'), how, String(count), folder]
  const { stdout, status } = spawnSync(TESTBED, inside('env', ...env, 'python3', '-B', ...program), {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 200_000,
  })
  if (status !== 0) throw new Error(`${how} failed`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>
}

const factory = await startFactory()
try {
  const results = {
    gleaner: measure('gleaner', calls),
    parsl_on_gleaner: measure('parsl', PARSL_CALLS),
    parsl_htex: measure('parsl_htex', PARSL_CALLS),
    parsl_alone: measure('parsl_alone', PARSL_CALLS),
    profile: measure('profile', PARSL_CALLS),
  }
  console.table(results)
  console.log(JSON.stringify({ calls, parsl_calls: PARSL_CALLS, ...results }))
} finally {
  factory.kill('SIGTERM')
  await once(factory, 'exit')
  rmSync(folder, { recursive: true, force: true })
}
