/**
 * Runs the tests: npm test [-- PART OF A PATH...]
 *
 * Quick ones first and side by side, so that a plain mistake shows in minutes. Then those that start processes or run models, and
 * then, two at a time, those that run whole factories. Tests of rooms that need more than a machine with Node run only if a path names them.
 */
import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { fileURLToPath } from 'node:url'

/** What node:test reports; only what is used here. */
interface Event {
  type: string
  data: { nesting?: number; file?: string; counts?: Record<string, number>; duration_ms?: number }
}

const root = fileURLToPath(new URL('..', import.meta.url))

/** Rooms of `test/` that run first. */
const FIRST = ['core', 'protocol']
/** What starts many processes, or runs models; decisions in its folders named `policy` do not. */
const WITH_PROCESSES = [
  ...['cli', 'client/python', 'faults', 'library', 'openai', 'pilot', 'relay', 'security', 'shells'],
  ...['factory/factory.test', 'factory/pilot-sh', 'factory/relays', 'factory/sites', 'factory/transports'],
  ...['bundle/download', 'manager/ledger', 'manager/services/metrics', 'report'],
]
/** Rooms whose tests run whole factories. */
const WHOLE = ['end-to-end', 'package']
/** As many of the first kind run at once: they wait more than they compute. Packages are built in one folder, one at a time. */
const WHOLE_AT_ONCE = 2
/** Rooms of `test/` that need more than a machine with Node: they run one file at a time. */
const APART = ['browser', 'cluster', 'device']
/** A file that takes as long hangs, also on a machine that is slow, milliseconds. */
const LIMIT_MS = 30 * 60_000
/** Files that are named at the end, as those that took longest. */
const SLOWEST = 10

const room = (file: string): string => file.split('/')[1] ?? ''
const isApart = (file: string): boolean => APART.includes(room(file))
const isWhole = (file: string): boolean => WHOLE.includes(room(file))
const hasProcesses = (file: string): boolean =>
  !file.includes('/policy/') && WITH_PROCESSES.some((part) => file.startsWith(`test/${part}`))
const isFirst = (file: string): boolean => FIRST.includes(room(file))

function find(parts: string[]): string[] {
  const isNamed = (file: string) => parts.some((part) => part.includes(`test/${room(file)}`))
  return globSync('test/**/*.test.ts', { cwd: root, exclude: ['test/fixtures/**'] })
    .filter((file) => !isApart(file) || isNamed(file))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .sort((a, b) => Number(isFirst(b)) - Number(isFirst(a)) || a.localeCompare(b))
}

/** What is counted, as node:test names it in events and in print. */
const COUNTS = { tests: 'tests', suites: 'suites', passed: 'pass', failed: 'fail', cancelled: 'cancelled' }

/** Runs files as one: the summaries of their parts are put together into one at the end. */
async function* runAll(files: string[]): AsyncGenerator<Event, void, undefined> {
  const totals = new Map<string, number>()
  const times = new Map<string, number>()
  const startedAt = performance.now()
  const beside = files.filter((file) => !isWhole(file) && !isApart(file))
  const concurrency = availableParallelism()
  const parts = [
    { files: beside.filter((file) => !hasProcesses(file)), concurrency },
    { files: beside.filter(hasProcesses), concurrency },
    { files: files.filter((file) => room(file) === 'end-to-end'), concurrency: WHOLE_AT_ONCE },
    { files: files.filter((file) => room(file) === 'package'), concurrency: 1 },
    { files: files.filter(isApart), concurrency: 1 },
  ]
  for (const part of parts.filter(({ files }) => files.length > 0)) {
    const partAt = performance.now()
    for await (const event of run({ ...part, cwd: root, timeout: LIMIT_MS }) as AsyncIterable<Event>) {
      const { nesting, file, counts = {}, duration_ms = 0 } = event.data
      if (event.type === 'test:fail') process.exitCode = 1
      if (event.type === 'test:summary' && file !== undefined) times.set(file, duration_ms)
      if (event.type === 'test:summary' && file === undefined) {
        for (const [name, value] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + value)
      }
      // These lines at the end of a part say what its summary does.
      if (event.type === 'test:diagnostic' && nesting === 0 && file === undefined) continue
      yield event
    }
    yield summaryLine(`${part.files.length} files in ${seconds(performance.now() - partAt)}`)
  }
  const slowest = [...times].sort(([, a], [, b]) => b - a).slice(0, SLOWEST)
  for (const [file, ms] of slowest) yield summaryLine(`${seconds(ms)} ${file.slice(root.length)}`)
  for (const [name, print] of Object.entries(COUNTS)) yield summaryLine(`${print} ${totals.get(name) ?? 0}`)
  yield summaryLine(`duration_ms ${Math.round(performance.now() - startedAt)}`)
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

const summaryLine = (message: string): Event =>
  ({ type: 'test:diagnostic', data: { nesting: 0, message, level: 'info' } }) as Event

const files = find(process.argv.slice(2))
if (files.length === 0) {
  console.error('no test has such a path')
  process.exitCode = 1
}
// Every process that a test starts would read and strip the same sources again.
process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules', '.cache', 'compiled')
// Tests that run whole factories share what takes long to make: see test/end-to-end/factory-fixture.ts.
const shared = mkdtempSync(join(tmpdir(), 'gleaner-tests-'))
process.env.GLEANER_TEST_SHARED = shared
try {
  await pipeline(runAll(files), new spec(), process.stdout, { end: false })
} finally {
  rmSync(shared, { recursive: true, force: true, maxRetries: 5 })
}
