/**
 * No-op calls from Python on a retained context, with two workers: npm run bench:python [-- --calls N]
 *
 * In one run, in the testbed's tree (scripts/testbed up): through our client; under Parsl on our executor; on Parsl's own
 * HighThroughputExecutor; and on one that does nothing, which shows what Parsl itself takes. The last line is JSON.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { inTree, ROOT, startTestbedFactory } from '../support/testbed-factory.ts'

const { values: flags } = parseArgs({ options: { calls: { type: 'string', default: '20000' } } })
const calls = Number(flags.calls)
if (!Number.isInteger(calls) || calls < 1) throw new Error(`--calls ${flags.calls}: give a whole number`)

/** Parsl takes about a millisecond a call: fewer do. */
const PARSL_CALLS = Math.ceil(calls / 4)

await using factory = await startTestbedFactory({ kind: 'local', count: 2 })

function measure(how: string, count: number): Record<string, unknown> {
  const env = [`PYTHONPATH=${join(ROOT, 'src/client/python')}`, `GLEANER_STATE=${factory.state}`]
  const program = [join(ROOT, 'scripts/bench/python/calls.py'), how, String(count), factory.folder]
  const [command, ...args] = inTree('researcher', 'env', ...env, 'python3', '-B', ...program)
  const { stdout, status } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 200_000,
  })
  if (status !== 0) throw new Error(`${how} failed`)
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>
}

const results = {
  gleaner: measure('gleaner', calls),
  parsl_on_gleaner: measure('parsl', PARSL_CALLS),
  parsl_htex: measure('parsl_htex', PARSL_CALLS),
  parsl_alone: measure('parsl_alone', PARSL_CALLS),
  profile: measure('profile', PARSL_CALLS),
}
console.table(results)
console.log(JSON.stringify({ calls, parsl_calls: PARSL_CALLS, ...results }))
