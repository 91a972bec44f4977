/**
 * Runs the tests: npm test [-- PART OF A PATH...]
 *
 * Quick ones first and side by side, so that a plain mistake shows in seconds. Then, one at a time, those that run whole
 * factories: they would take each other's processors.
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
  data: { nesting?: number; file?: string; counts?: Record<string, number> }
}

const root = fileURLToPath(new URL('..', import.meta.url))

/** Rooms of `test/` that run first. */
const FIRST = ['core', 'protocol']
/** Rooms whose tests run whole factories. */
const WHOLE = ['end-to-end', 'package']
/** Folders of `test/` that need more than a machine with Node, or hold no tests. */
const APART = ['browser', 'cluster', 'device', 'fixtures']
/** Longest a file may take, milliseconds. */
const LIMIT_MS = 10 * 60_000

const room = (file: string): string => file.split('/')[1] ?? ''
const isWhole = (file: string): boolean => WHOLE.includes(room(file))
const isFirst = (file: string): boolean => FIRST.includes(room(file))

function find(parts: string[]): string[] {
  return globSync('test/**/*.test.ts', { cwd: root })
    .filter((file) => !APART.includes(room(file)))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .sort((a, b) => Number(isFirst(b)) - Number(isFirst(a)) || a.localeCompare(b))
}

/** What is counted, as node:test names it in events and in print. */
const COUNTS = { tests: 'tests', suites: 'suites', passed: 'pass', failed: 'fail', cancelled: 'cancelled' }

/** Runs files as one: the summaries of their parts are put together into one at the end. */
async function* runAll(files: string[]): AsyncGenerator<Event, void, undefined> {
  const totals = new Map<string, number>()
  const startedAt = performance.now()
  const parts = [
    { files: files.filter((file) => !isWhole(file)), concurrency: availableParallelism() },
    { files: files.filter(isWhole), concurrency: 1 },
  ]
  for (const part of parts.filter(({ files }) => files.length > 0)) {
    for await (const event of run({ ...part, cwd: root, timeout: LIMIT_MS }) as AsyncIterable<Event>) {
      const { nesting, file, counts = {} } = event.data
      if (event.type === 'test:fail') process.exitCode = 1
      if (event.type === 'test:summary' && file === undefined) {
        for (const [name, value] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + value)
      }
      // These lines at the end of a part say what its summary does.
      if (event.type === 'test:diagnostic' && nesting === 0 && file === undefined) continue
      yield event
    }
  }
  for (const [name, print] of Object.entries(COUNTS)) yield summaryLine(`${print} ${totals.get(name) ?? 0}`)
  yield summaryLine(`duration_ms ${Math.round(performance.now() - startedAt)}`)
}

const summaryLine = (message: string): Event =>
  ({ type: 'test:diagnostic', data: { nesting: 0, message, level: 'info' } }) as Event

const files = find(process.argv.slice(2))
if (files.length === 0) {
  console.error('no test has such a path')
  process.exitCode = 1
}
// Tests that run whole factories share what takes long to make: see test/end-to-end/plant.ts.
const shared = mkdtempSync(join(tmpdir(), 'gleaner-tests-'))
process.env.GLEANER_TEST_SHARED = shared
try {
  await pipeline(runAll(files), new spec(), process.stdout, { end: false })
} finally {
  rmSync(shared, { recursive: true, force: true, maxRetries: 5 })
}
