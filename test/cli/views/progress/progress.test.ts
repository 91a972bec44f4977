import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test, type TestContext } from 'node:test'
import type { WriteStream } from 'node:tty'
import type { RunProgress } from '../../../../src/client/index.ts'
import { showProgress } from '../../../../src/cli/views/progress/progress.ts'

const UP = '\x1b[2A\x1b[0J'

const at = (done: number): RunProgress => ({
  phase: 'running',
  input: { tasks: 10, invalid: 0, hasTwins: false, examples: [] },
  submitted: 10,
  done,
  failed: 0,
  resumed: 0,
  changed: 0,
})

function show(context: TestContext, isTTY: boolean) {
  context.mock.timers.enable({ apis: ['setInterval'] })
  const stream = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY, columns: 100 })
  const display = showProgress(stream as unknown as WriteStream, () => Promise.reject(new Error('not asked')))
  return {
    display,
    tick: (ms: number) => context.mock.timers.tick(ms),
    written: () => (stream.read() ?? '') as string,
  }
}

describe('the progress display', () => {
  test('draws over itself on a terminal, below lines that stay', (context) => {
    const { display, tick, written } = show(context, true)
    display.update(at(1))
    tick(200)
    assert.match(written(), /^█+░+ 10 % .*\n\n$/)
    display.update(at(5))
    tick(200)
    const second = written()
    assert.ok(second.startsWith(UP))
    assert.match(second, / 50 % /)
    display.print('a pilot was killed')
    assert.ok(written().startsWith(`${UP}a pilot was killed\n█`))
  })

  test('leaves the last state in sight, and is done', (context) => {
    const { display, tick, written } = show(context, true)
    display.update(at(10))
    display[Symbol.dispose]()
    assert.match(written(), / 100 % /)
    tick(1_000)
    display[Symbol.dispose]()
    assert.equal(written(), '')
  })

  test('tells the speed from the first line on, without what an earlier run had done', (context) => {
    const { display, tick, written } = show(context, false)
    let now = 0
    context.mock.method(performance, 'now', () => now)
    display.update({ ...at(0), phase: 'checking' })
    display.update({ ...at(4), resumed: 4, changed: 0 })
    display.update({ ...at(9), resumed: 4, changed: 0 })
    now += 5_000
    tick(5_000)
    assert.match(written(), / 90 % .* {2}1\/s {2}/)
  })

  test('writes a line now and then to a log, unless it is the same again', (context) => {
    const { display, tick, written } = show(context, false)
    display.update(at(0))
    tick(5_000)
    tick(5_000)
    display.update(at(5))
    display.notice('the factory is gone')
    tick(5_000)
    const lines = written().split('\n')
    assert.match(lines[0]!, / 0 % /)
    assert.match(lines[1]!, / 50 % .* · {2}the factory is gone$/)
    assert.deepEqual(lines.slice(2), [''])
  })
})
