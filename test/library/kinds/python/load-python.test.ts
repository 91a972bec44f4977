import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { loadContext } from '../../../../src/library/kinds/load-context.ts'
import { limits } from '../../../../src/protocol/primitives.ts'
import { LibrarySpec } from '../../../../src/protocol/contexts/context.ts'
import { childrenOf, isAlive } from '../../../pilot/support/pilot-process.ts'
import { until } from '../../../support/until.ts'
import { acceptKind } from '../../support/kind-suite.ts'
import { createRecorder } from '../../support/recording-reporter.ts'
import { startLibrary, type TestLibrary } from '../../support/library-process.ts'
import { pythonSetup } from '../../support/setup-message.ts'

const time = { timeout: 180_000 }

acceptKind('python', () =>
  Promise.resolve({
    setup: pythonSetup({ add: {} }),
    name: 'add',
    good: [1, 2, 3, 40].map((n) => ({ input: { n }, value: 100 + n })),
    bad: { input: { n: 'many' }, message: /^n is "many", not a number$/ },
    broken: [
      { setup: pythonSetup({ add: {} }, { file: 'absent.py' }), message: /absent\.py/ },
      { setup: pythonSetup({ subtract: {} }), message: /no function "subtract"; it has .*add_all/ },
      { setup: pythonSetup({ add: {} }, { call: 'close' }), message: /no function "close"/ },
      {
        setup: pythonSetup({ add: {} }, { args: ['zero'] }),
        message: /needs a number to start from, not zero/,
      },
      {
        setup: pythonSetup({ add: {} }, { args: [] }),
        message: /missing 1 required positional argument: 'base'/,
      },
      {
        setup: pythonSetup({ add: {} }, { call: 'open_list', args: [] }),
        message: /open_list returned a list: return a dict of variables/,
      },
      { setup: { ...pythonSetup({ add: {} }), bundles: {} }, message: /bundle "app"/ },
      {
        setup: pythonSetup({ add: {} }, { python: { bundle: 'app', file: 'bin/python3' } }),
        message: /there is no program .*bin\/python3: load a module with python3/,
      },
      {
        setup: pythonSetup({ add: {} }, { call: 'give_up', args: [] }),
        message: /SystemExit: 3/,
      },
    ],
  }),
)

/** A library that has loaded the Python calculator with the given functions. */
async function startCalculator(functions: Record<string, { batch?: number }>): Promise<TestLibrary> {
  const library = await startLibrary(pythonSetup(functions))
  await library.next('ready')
  return library
}

describe('a Python library process', { concurrency: 2 }, () => {
  test(
    'reports what is raised with its type, message and traceback, without frames of ours',
    time,
    async () => {
      await using library = await startCalculator({ add: {}, unknown_variable: {} })
      const [ended] = await library.call('add', [{ n: 'x' }])
      const { name, message, stack = '' } = ended?.error ?? {}
      assert.deepEqual({ name, message }, { name: 'ValueError', message: 'n is "x", not a number' })
      assert.match(
        stack,
        /^Traceback.*calculator\.py", line \d+, in add\n.*numbers\.py", line 4.*\nValueError: n is/s,
      )
      assert.doesNotMatch(stack, /gleaner\.py/)
      const [unknown] = await library.call('unknown_variable', [null], 2)
      assert.equal(
        unknown?.error?.message,
        'the context\'s setup returned no variable "weights"; there is base, batches',
      )
    },
  )

  test('passes on any JSON, and finds the folders of bundles', time, async () => {
    await using library = await startCalculator({ echo: {}, is_there: {} })
    const values = [null, 'ü\u2028\ud800', [1.5, -0.1, 1e300], { a: { '': [true, false] } }]
    assert.deepEqual(
      await library.call('echo', values),
      values.map((value, i) => ({ id: i + 1, value })),
    )
    assert.deepEqual(await library.call('is_there', ['calculator.py', 'absent'], 9), [
      { id: 9, value: true },
      { id: 10, value: false },
    ])
  })

  test('makes a result that cannot be sent the error of its call', time, async () => {
    await using library = await startCalculator({ no_json: {}, large: {} })
    const ended = await library.call('no_json', ['set', 'nan', 'function'])
    assert.deepEqual(
      ended.map(({ error }) => error?.name),
      ['ResultError', 'ResultError', 'ResultError'],
    )
    assert.match(ended[0]?.error?.message ?? '', /not JSON: Object of type set is not JSON serializable/)
    const [large] = await library.call('large', [limits.value], 4)
    assert.match(large?.error?.message ?? '', /more than 8388608: return less/)
  })

  test('gives a function that takes batches as many inputs at once as it asked for', time, async () => {
    await using library = await startCalculator({ add_all: { batch: 3 }, too_few: { batch: 2 }, batches: {} })
    const inputs = Array.from({ length: 8 }, (_, n) => ({ n }))
    const ended = await library.call('add_all', inputs)
    assert.deepEqual(
      ended.map(({ value }) => value),
      inputs.map(({ n }) => 100 + n),
    )
    assert.deepEqual(await library.call('batches', [null], 10), [{ id: 10, value: [3, 3, 2] }])
    const failed = await library.call('add_all', [{ n: 1 }, { n: '?' }], 20)
    assert.deepEqual(
      failed.map(({ error }) => error?.name),
      ['ValueError', 'ValueError'],
    )
    const [few] = await library.call('too_few', [1, 2], 30)
    assert.match(few?.error?.message ?? '', /2 inputs gave 1 results: return a list/)
  })

  test('notes what each call prints, and what a batch does for each of its calls', time, async () => {
    await using library = await startCalculator({ say: {}, echo: {}, say_all: { batch: 2 } })
    const ended = await library.call('say', ['ü', '', 'x'.repeat(3 * limits.log)])
    assert.deepEqual(ended[0], { id: 1, value: null, log: 'ü\nto the log\n' })
    assert.deepEqual([ended[1]?.error?.message, ended[1]?.log], ['nothing to say', '\nto the log\n'])
    assert.equal(ended[2]?.log, ('x'.repeat(limits.log) + '\nto the log\n').slice(-limits.log))
    assert.deepEqual(await library.call('echo', [1], 4), [{ id: 4, value: 1 }])
    assert.deepEqual(await library.call('say_all', ['a', 'b'], 5), [
      { id: 5, value: 'a', log: 'a\nb\n' },
      { id: 6, value: 'b', log: 'a\nb\n' },
    ])
    assert.equal((await library.end()).stdout.split('\n').length, 6)
  })

  test('reports what led to an error', time, async () => {
    await using library = await startCalculator({ divide: {} })
    const [{ error } = {}] = await library.call('divide', [0])
    assert.deepEqual([error?.name, error?.message], ['ValueError', 'cannot divide by 0'])
    assert.deepEqual([error?.cause?.name, error?.cause?.message], ['ZeroDivisionError', 'division by zero'])
    assert.match(error!.cause!.stack!, /line \d+, in divide/)
  })

  test('says how far its calls are, now and then', time, async () => {
    const context = await loadContext(pythonSetup({ count: {}, count_all: { batch: 2 } }))
    const reporter = createRecorder()
    const run = (name: string, inputs: number[], from: number) =>
      context.functions.get(name)!(
        inputs.map((input, i) => ({ id: from + i, input })),
        reporter,
      )
    await run('count', [100_000, -1], 1)
    assert.deepEqual(reporter.reports[0], [1, 0, 100_000])
    assert.ok(reporter.reports.length < 20)
    assert.match(String((reporter.outcomes.get(2) as { value: unknown }).value), /^-1$/)
    let id = 10
    await until(async () => {
      await run('count_all', [3, 4], (id += 2))
      return reporter.reports.at(-1)![1] === 7
    })
    assert.deepEqual(reporter.reports.slice(-2), [
      [id, 7, undefined],
      [id + 1, 7, undefined],
    ])
    await context.close()
  })

  test('ends as its Python does, once what ended before is handed in', time, async () => {
    for (const [name, input, how] of [
      ['leave', 7, { code: 7, signal: null }],
      ['kill', 'SIGSEGV', { code: null, signal: 'SIGSEGV' }],
      ['kill', 'SIGKILL', { code: null, signal: 'SIGKILL' }],
    ] as const) {
      await using library = await startCalculator({ echo: {}, leave: {}, kill: {} })
      await library.channel.send({ type: 'call', function: 'echo', calls: [{ id: 1, input: 'safe' }] })
      await library.channel.send({ type: 'call', function: name, calls: [{ id: 2, input }] })
      assert.deepEqual((await library.next('ended')).calls, [{ id: 1, value: 'safe' }])
      assert.deepEqual((await library.next('begun')).ids, [2])
      const { stderr, ...end } = await library.end()
      assert.deepEqual({ code: end.code, signal: end.signal }, how)
      assert.match(stderr, /python3 (exited with code 7|was killed by SIG(SEGV|KILL))/)
    }
  })

  test('ends when its Python is killed while it waits for calls', time, async () => {
    await using library = await startCalculator({ echo: {} })
    const [python] = await childrenOf(library.child.pid!)
    process.kill(python!, 'SIGKILL')
    await once(library.child, 'exit')
    assert.equal((await library.end()).signal, 'SIGKILL')
  })

  test('takes a call that hangs down with it when its worker has gone', time, async () => {
    await using library = await startCalculator({ hang: {} })
    const [python] = await childrenOf(library.child.pid!)
    await library.channel.send({ type: 'call', function: 'hang', calls: [{ id: 1, input: 0 }] })
    await library.next('begun')
    assert.equal((await library.end()).code, 0)
    await until(() => !isAlive(python!))
  })

  test(
    'outlives the signals a batch system sends to everyone, and keeps its socket to itself',
    time,
    async () => {
      await using library = await startCalculator({ echo: {}, run_child: {} })
      const [python] = await childrenOf(library.child.pid!)
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(python!, signal)
      assert.deepEqual(await library.call('echo', ['still here']), [{ id: 1, value: 'still here' }])
      assert.deepEqual(await library.call('run_child', [null], 2), [{ id: 2, value: 'False' }])
    },
  )
})

describe('a description of a Python context', () => {
  for (const [what, changes, message] of [
    ['a file that is no Python', { file: 'model.js' }, /a \.py file/],
    ['an interpreter without its bundle', { python: { file: 'bin/python3' } }, /bundle/],
    ['a setting there is not', { interpreter: 'python3' }, /interpreter/],
  ] as const) {
    test(`with ${what} is refused`, () => {
      const setup = { bundle: 'app', file: 'model.py', ...changes }
      const parsed = LibrarySpec.safeParse({ library: 'python', setup, functions: { f: { call: 'f' } } })
      assert.match(parsed.error?.message ?? '', message)
    })
  }
})
