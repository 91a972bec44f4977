/**
 * Parsl's own tests on a factory, beside its HighThroughputExecutor: npm run suite:parsl [-- --tests PATH…]
 *
 * The tests are those of the package of Parsl in the testbed's tree (scripts/testbed up), which Debian ships with it; paths
 * are below its folder `tests`. Says which of those that pass on HighThroughputExecutor do not pass here; last line JSON.
 */
import { spawnSync } from 'node:child_process'
import { chownSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { inTree, ROOT, startTestbedFactory } from './support/testbed-factory.ts'

const { positionals } = parseArgs({ allowPositionals: true })
const TESTS = '/usr/lib/python3/dist-packages/parsl/tests'
/** Seconds that one test may take: some that fail wait for what never comes. */
const TEST_S = 60

interface Outcome {
  test: string
  outcome: 'passed' | 'failed' | 'skipped'
  why: string
}

function installPytest(): void {
  const look = ['python3', '-c', 'import pytest, pytest_timeout']
  if (run(inTree('root', ...look)) === 0) return
  const packages = ['python3-pytest', 'python3-pytest-timeout']
  const status = run(inTree('root', 'apt-get', 'install', '-q', '-y', '--no-install-recommends', ...packages))
  if (status !== 0) throw new Error(`${packages.join(' and ')} cannot be installed in the testbed's tree`)
}

function run([command, ...args]: readonly [string, ...string[]]): number | null {
  return spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status
}

await using factory = await startTestbedFactory({ kind: 'local', count: 4 })
installPytest()

/** Runs the tests under one configuration; how each came out, by its name. */
function runSuite(name: 'htex' | 'gleaner'): Map<string, Outcome> {
  const folder = join(factory.folder, name)
  mkdirSync(folder)
  chownSync(folder, factory.uid, factory.gid)
  const file = join(folder, 'outcomes.jsonl')
  const env = [
    `PYTHONPATH=${join(ROOT, 'src/client/python')}:${join(ROOT, 'scripts/parsl-suite')}`,
    `GLEANER_STATE=${factory.state}`,
    `OUTCOMES=${file}`,
  ]
  const flags = [
    '-q',
    '--tb=line',
    '-p',
    'pytest_record_outcomes',
    '-p',
    'no:cacheprovider',
    '--timeout',
    String(TEST_S),
  ]
  const config = join(ROOT, 'scripts/parsl-suite', `${name}_config.py`)
  const which = positionals.length > 0 ? positionals.map((path) => join(TESTS, path)) : [TESTS]
  const pytest = [
    'python3',
    '-B',
    '-m',
    'pytest',
    ...flags,
    '-k',
    'not cleannet',
    '--config',
    config,
    ...which,
  ]
  // The package's folder is not to be written to, and what tests leave is to go with the run.
  run(inTree('researcher', 'env', '--chdir', folder, ...env, ...pytest))
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const outcomes = new Map<string, Outcome>()
  // A test that passed and whose clean-up failed is in it twice: the worse counts.
  for (const each of lines.map((line) => JSON.parse(line) as Outcome)) {
    if (outcomes.get(each.test)?.outcome !== 'failed') outcomes.set(each.test, each)
  }
  return outcomes
}

const htex = runSuite('htex')
const gleaner = runSuite('gleaner')
const passed = [...htex.values()].filter(({ outcome }) => outcome === 'passed').map(({ test }) => test)
const missing = passed.flatMap((test) => {
  const ours = gleaner.get(test)
  return ours?.outcome === 'passed' ? [] : [ours ?? { test, outcome: 'failed', why: 'it was not run' }]
})
const more = [...gleaner.values()].filter(
  ({ test, outcome }) => outcome === 'passed' && !passed.includes(test),
)
for (const { test, outcome, why } of missing) console.log(`${outcome}: ${test}\n    ${why}`)
console.log(
  JSON.stringify({
    htex_passed: passed.length,
    of_these_on_gleaner: passed.length - missing.length,
    gleaner_passed_alone: more.length,
    not_on_gleaner: missing.map(({ test }) => test),
  }),
)
