import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { spawn } from 'node-pty'
import type { Status } from '../../../src/client/index.ts'
import { createScreen, type Line } from '../../../src/cli/top/screen.ts'
import { COLUMNS, keysIn, press, START, TABS, type TopState } from '../../../src/cli/top/state.ts'
import { rowsOf, topLines } from '../../../src/cli/top/view.ts'
import { cut, textWidth } from '../../../src/cli/views/text-width.ts'
import { fakeManager } from '../../client/fake-manager.ts'
import { until } from '../../support/until.ts'
import { terminal } from './terminal.ts'

const worker = (id: string, rate: number): Status['workers'][number] => ({
  id,
  site: 'gpu',
  pilot: 'p1',
  node: `node-${id}`,
  slots: 1,
  state: 'active',
  rate,
  leased: 3,
  contexts: [{ context: 'ctx', level: 'memory' }],
})

const STATUS: Status = {
  version: '0.1.0',
  startedAt: 0,
  now: 65_000,
  tasks: { queued: 100, leased: 6, done: 40, failed: 1 },
  rate: 12.3,
  duplicates: 0,
  evictions: 1,
  lost: 0,
  requeued: 0,
  jobs: [],
  earlierJobs: 0,
  workers: [worker('w1', 5), worker('w2', 20), worker('w10', 1)],
  sites: [],
  contexts: [],
  transfers: [],
}

const anyLines = fc.array(
  fc.record(
    {
      text: fc.string({ maxLength: 30 }).map((text) => text.replaceAll(/\p{Cc}/gu, '')),
      style: fc.constantFrom('heading' as const, 'selected' as const, 'faint' as const),
    },
    { requiredKeys: ['text'] },
  ),
  { maxLength: 8 },
)

describe('the screen of a full-screen program', () => {
  test('shows the lines it was given last, whatever it showed before, and writes nothing if they are the same', () => {
    fc.assert(
      fc.property(fc.array(anyLines, { minLength: 1, maxLength: 5 }), (frames) => {
        const [screen, seen] = [createScreen(), terminal(6, 20)]
        for (const lines of frames as Line[][]) {
          seen.write(screen.draw(lines, 6, 20))
          const expected = Array.from({ length: 6 }, (_, row) => {
            const characters = [...(lines[row]?.text ?? '')]
            return (
              characters.length > 20 ? [...characters.slice(0, 19), '…'].join('') : characters.join('')
            ).trimEnd()
          })
          assert.deepEqual(seen.lines(), expected)
          assert.equal(screen.draw(lines, 6, 20), '')
        }
      }),
    )
  })

  test('shows wide characters where they belong, and cuts lines of them by what they take', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', ' ', '漢', '字'), maxLength: 16 })
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 6 }), (frames) => {
        const [screen, seen] = [createScreen(), terminal(1, 10)]
        for (const frame of frames) {
          seen.write(screen.draw([{ text: frame }], 1, 10))
          assert.deepEqual(seen.lines(), [cut(frame.trimEnd(), 10)])
        }
      }),
    )
  })

  test('writes a few bytes where a few characters change', () => {
    const screen = createScreen()
    screen.draw([{ text: 'tasks: 100 done, 3 failed' }], 24, 80)
    assert.equal(screen.draw([{ text: 'tasks: 101 done, 3 failed' }], 24, 80), '\x1b[1;10H1')
  })
})

describe('keys', () => {
  const ids = ['w1', 'w2', 'w10']
  const after = (keys: string, state: TopState = { ...START, tab: 'workers' }) =>
    keysIn(keys).reduce((now, key) => press(now, key, ids), state)

  test('choose lists and rows, sort, open and leave', () => {
    assert.equal(after('2').tab, 'sites')
    assert.equal(after('\t').tab, 'jobs')
    assert.equal(after('\x1b[B\x1b[Bj').row, 2)
    assert.equal(after('jk\x1b[A').row, 0)
    assert.equal(after('j\r').detail, 'w2')
    assert.equal(after('j\r\x1b').detail, undefined)
    assert.equal(after('ssr').sort, 2)
    assert.equal(after('ssr').descending, true)
    assert.equal(after('q').quit, true)
    assert.equal(after('/q\x03').quit, true)
  })

  test('go into the filter while it is typed, and act again after it', () => {
    const typed = after('/nodq\x7f')
    assert.deepEqual([typed.filter, typed.typing, typed.quit], ['nod', true, false])
    assert.equal(after('/x\r').typing, false)
    assert.equal(after('/x\x1b').filter, '')
  })

  test('never leave a state that cannot be shown', () => {
    const anyKey = fc.constantFrom(
      '1',
      '2',
      '3',
      '\t',
      'j',
      'k',
      '\x1b[6~',
      '\x1b[5~',
      '\r',
      '\x1b',
      's',
      'S',
      'r',
      '/',
      'w',
      '\x7f',
    )
    fc.assert(
      fc.property(fc.array(anyKey), fc.integer({ min: 4, max: 40 }), (keys, rows) => {
        let state = START
        for (const key of keys) {
          state = press(
            state,
            key,
            rowsOf(state, STATUS).map(({ id }) => id),
          )
          assert.equal(topLines(state, { status: STATUS }, rows, 80).length, rows)
          assert.ok(TABS.includes(state.tab) && state.sort < COLUMNS[state.tab].length)
        }
      }),
    )
  })
})

describe('the rows of a list', () => {
  test('fit the terminal: what is too long ends with an ellipsis, and the figures beside it stay whole', () => {
    const long = {
      name: 'fact-verification claims.jsonl results.jsonl 漢字',
      context: 'fact-verification-of-claims',
    }
    const figures = { state: 'open' as const, done: 12_345, failed: 3, tasks: 150_000 }
    const rest = { function: 'verify', closed: true, retried: 0, createdAt: 0 }
    const status = { ...STATUS, jobs: [{ id: 7, ...long, ...figures, ...rest }] }
    for (const columns of [60, 80, 200]) {
      const lines = topLines(START, { status }, 24, columns).slice(2, 4)
      for (const { text } of lines) assert.ok(textWidth(text.trimEnd()) <= columns, text)
      const row = lines[1]!.text
      assert.match(row, /12,345 +3 +150,000/)
      assert.match(
        row,
        columns < 200
          ? /^7 +fact-ver[^ ]*.*… +fact-ver.*…? +open/
          : /漢字 +fact-verification-of-claims +open/,
      )
    }
  })

  test('are sorted by numbers where these are, names with numbers in them too, and filtered by any cell', () => {
    const ids = (state: Partial<TopState>) =>
      rowsOf({ ...START, tab: 'workers', ...state }, STATUS).map(({ id }) => id)
    assert.deepEqual(ids({}), ['w1', 'w2', 'w10'])
    assert.deepEqual(ids({ sort: 4, descending: true }), ['w2', 'w1', 'w10'])
    assert.deepEqual(ids({ filter: 'NODE-W1' }), ['w1', 'w10'])
  })

  test('hold nothing that a terminal acts on', () => {
    const evil = { ...STATUS, workers: [{ ...worker('w1', 1), node: '\x1b[2J\nx' }] }
    for (const { text } of topLines({ ...START, tab: 'workers' }, { status: evil }, 24, 80))
      assert.doesNotMatch(text, /[\x1b\n]/) // eslint-disable-line no-control-regex
  })
})

describe('factory top', () => {
  test('shows the factory on a real terminal of 80 by 24, follows its size, costs few bytes, and leaves it as it was', async () => {
    await using manager = await fakeManager()
    const bin = fileURLToPath(new URL('../../../bin/factory.js', import.meta.url))
    const env = { ...process.env, GLEANER_STATE: manager.state }
    const child = spawn(process.execPath, [bin, 'top'], {
      name: 'xterm',
      cols: 80,
      rows: 24,
      cwd: process.cwd(),
      env,
      encoding: null,
    })
    const exited = new Promise<number>((resolve) => child.onExit(({ exitCode }) => resolve(exitCode)))
    let seen = terminal(24, 80)
    let bytes = 0
    const decoder = new TextDecoder()
    child.onData((chunk) => {
      bytes += chunk.length
      seen.write(decoder.decode(chunk, { stream: true }))
    })
    await until(() => seen.lines().at(-1)?.includes('q quit') ?? false)
    assert.match(seen.lines()[1]!, /^\[1 jobs\] 2 sites {2}3 workers/)
    const before = bytes
    child._socket.write('3')
    await until(() => seen.lines()[1]!.includes('[3 workers]'))
    assert.ok(bytes - before < 600, `${bytes - before} bytes for another list`)

    seen = terminal(10, 60)
    child.resize(60, 10)
    await until(() => seen.lines().at(-1)?.startsWith('1-3 lists') ?? false)

    child._socket.write('q')
    assert.equal(await exited, 0)
    assert.ok(seen.left, 'the alternate screen is left')
  })
})
