import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { limits } from '../../../src/protocol/primitives.ts'
import { libraryProgram, startLibrary, type TestLibrary } from '../support/library-process.ts'
import { calculatorSetup } from '../support/setup-message.ts'

const time = { timeout: 180_000 }
const loud = { args: [100, true] }

/** A library that has loaded the calculator with the given functions. */
async function startCalculator(...names: string[]): Promise<TestLibrary> {
  const library = await startLibrary(calculatorSetup(Object.fromEntries(names.map((name) => [name, {}]))))
  await library.next('ready')
  return library
}

describe('a library process', { concurrency: 4 }, () => {
  test(
    'loads its context, answers calls, and ends well when its worker closes the stream',
    time,
    async () => {
      await using library = await startLibrary(calculatorSetup({ add: {} }, loud))
      const ready = await library.next('ready')
      assert.equal(ready.level, 'memory')
      assert.ok(ready.loadMs > 0)
      const ended = await library.call('add', [{ n: 1 }, { n: 2 }])
      assert.deepEqual(ended, [
        { id: 1, value: 101 },
        { id: 2, value: 102 },
      ])
      const { code, stdout, stderr } = await library.end()
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      assert.equal(stdout, 'opened at 100\nclosed\n')
    },
  )

  test('says that calls have begun before it says how they ended', time, async () => {
    await using library = await startCalculator('add')
    const inputs = Array.from({ length: 1000 }, (_, n) => ({ n }))
    await library.channel.send({
      type: 'call',
      function: 'add',
      calls: inputs.map((input, id) => ({ id, input })),
    })
    const begun = new Set<number>()
    let ended = 0
    let ms = 0
    for await (const message of library.channel.messages) {
      if (message.type === 'begun') for (const id of message.ids) begun.add(id)
      if (message.type !== 'ended') continue
      for (const { id } of message.calls) assert.ok(begun.has(id))
      ended += message.calls.length
      ms += message.ms
      if (ended === inputs.length) break
    }
    assert.ok(ms > 0)
  })

  test('reports what a function throws with its name, message and stack', time, async () => {
    await using library = await startCalculator('add', 'throwText')
    const [ended] = await library.call('add', [{ n: 'x' }])
    assert.equal(ended?.error?.name, 'RangeError')
    assert.equal(ended.error.message, 'n is "x", not a number')
    assert.match(ended.error.stack ?? '', /numbers\.js:2/)
    const [thrown] = await library.call('throwText', [null], 2)
    assert.deepEqual(thrown?.error, { name: 'Error', message: 'just text' })
  })

  test('makes a result that cannot be sent the error of its call', time, async () => {
    await using library = await startCalculator('circular', 'large', 'none')
    const [circular] = await library.call('circular', [null])
    assert.match(circular?.error?.message ?? '', /not JSON: .*circular/)
    const [large] = await library.call('large', [{ bytes: limits.value }], 2)
    assert.match(large?.error?.message ?? '', /more than/)
    assert.deepEqual(await library.call('none', [null], 3), [{ id: 3, value: null }])
  })

  test('sends results that are large together in several messages', time, async () => {
    await using library = await startCalculator('large')
    const ended = await library.call('large', Array<{ bytes: number }>(5).fill({ bytes: 2 << 20 }))
    assert.equal(ended.length, 5)
    assert.ok(ended.every(({ value }) => typeof value === 'string' && value.length === 2 << 20))
  })

  test('names the functions it has when asked for another', time, async () => {
    await using library = await startCalculator('add', 'echo')
    const [ended] = await library.call('substract', [1])
    assert.match(ended?.error?.message ?? '', /no function "substract"; it has add, echo/)
  })

  test('forgets a call that is cancelled before it began', time, async () => {
    await using library = await startCalculator('hang', 'echo')
    await library.channel.send({
      type: 'call',
      function: 'hang',
      calls: [1, 2, 3].map((id) => ({ id, input: 0 })),
    })
    assert.deepEqual((await library.next('begun')).ids, [1])
    await library.channel.send({ type: 'cancel', ids: [2, 3] })
    const { code } = await library.end()
    assert.equal(code, 0, 'the call that runs does not hold it up')
  })

  test('does not run what is cancelled while another call runs', time, async () => {
    await using library = await startCalculator('addLater', 'echo')
    const calls = Array.from({ length: 500 }, (_, id) => ({ id, input: { n: id } }))
    await library.channel.send({ type: 'call', function: 'addLater', calls })
    await library.next('begun')
    await library.channel.send({ type: 'cancel', ids: calls.slice(400).map(({ id }) => id) })
    await library.channel.send({ type: 'call', function: 'echo', calls: [{ id: 1000, input: 'last' }] })
    const ended: number[] = []
    while (!ended.includes(1000)) ended.push(...(await library.next('ended')).calls.map(({ id }) => id))
    assert.equal(ended.length, 401)
  })

  test('fails, and ends, when its context cannot be made', time, async () => {
    await using library = await startLibrary(calculatorSetup({ add: {} }, { args: ['x'] }))
    const { error } = await library.next('failed')
    assert.equal(error.name, 'TypeError')
    assert.match(error.message, /needs a number/)
    assert.equal((await library.end()).code, 1)
  })

  test('ends when the worker leaves before or while it loads', time, async () => {
    await using idle = await startLibrary()
    assert.equal((await idle.end()).code, 0)
    await using loading = await startLibrary(calculatorSetup({ add: {} }, { call: 'hang' }))
    assert.equal((await loading.end()).code, 0)
  })

  test('ends when the worker dies', time, async () => {
    await using library = await startCalculator('hang')
    await library.channel.send({ type: 'call', function: 'hang', calls: [{ id: 1, input: 0 }] })
    await library.next('begun')
    library.socket.destroy()
    const [code] = (await once(library.child, 'exit')) as [number]
    assert.equal(code, 0)
  })

  test('does not survive an error outside of any call, and says what it was', time, async () => {
    await using library = await startCalculator('failLater')
    await library.channel.send({ type: 'call', function: 'failLater', calls: [{ id: 1, input: 0 }] })
    assert.deepEqual((await library.next('begun')).ids, [1])
    await once(library.child, 'exit')
    const { code, stderr } = await library.end()
    assert.equal(code, 1)
    assert.match(stderr, /outside of any call.*left behind/s)
  })

  test('has handed in what ended before a call that takes the process down', time, async () => {
    await using library = await startCalculator('echo', 'exit')
    await library.channel.send({ type: 'call', function: 'echo', calls: [{ id: 1, input: 'safe' }] })
    await library.channel.send({ type: 'call', function: 'exit', calls: [{ id: 2, input: { code: 7 } }] })
    assert.deepEqual((await library.next('ended')).calls, [{ id: 1, value: 'safe' }])
    assert.deepEqual((await library.next('begun')).ids, [2])
    assert.equal((await library.end()).code, 7)
  })

  test(
    'notes what each call prints, whether it fails or not, and of what is long the end',
    time,
    async () => {
      await using library = await startCalculator('say', 'add')
      const long = Array.from({ length: 3 }, (_, i) => String(i).repeat(limits.log - 1))
      const ended = await library.call('say', [
        { lines: ['a', 'b'] },
        { lines: ['ü'], fail: true },
        { lines: long },
      ])
      assert.deepEqual(ended[0], { id: 1, value: 2, log: 'a\nb\nthat is all\n' })
      assert.equal(ended[1]?.error?.message, 'no more to say')
      assert.equal(ended[1]?.log, 'ü\nthat is all\n')
      assert.equal(ended[2]?.log, (long[2] + '\nthat is all\n').slice(-limits.log))
      assert.deepEqual(await library.call('add', [{ n: 1 }], 4), [{ id: 4, value: 101 }])
    },
  )

  test('gives each call of a batch what the batch printed, in parts if there are many', time, async () => {
    await using library = await startLibrary(calculatorSetup({ sayAll: { batch: 64 } }))
    const texts = Array.from({ length: 64 }, (_, i) => String(i).padStart(200, '.'))
    const ended = await library.call(
      'sayAll',
      texts.map((text) => ({ text })),
    )
    for (const { log } of ended) assert.equal(log, (texts.join('\n') + '\n').slice(-1024))
  })

  test('leaves its output to what user code prints', time, async () => {
    await using library = await startCalculator('warn')
    const [ended] = await library.call('warn', [{ text: 'a word' }])
    assert.equal(ended?.log, 'a word\n')
    const { stdout, stderr } = await library.end()
    assert.deepEqual({ stdout, stderr }, { stdout: '', stderr: 'a word\n' })
  })

  test('outlives the signals a batch system sends to everyone: its worker decides', time, async () => {
    await using library = await startCalculator('echo')
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) library.child.kill(signal)
    assert.deepEqual(await library.call('echo', ['still here']), [{ id: 1, value: 'still here' }])
  })

  test('refuses more calls than any worker has use for', time, async () => {
    await using library = await startCalculator('hang')
    for (let sent = 0; sent <= 10 * limits.batch; sent += limits.batch) {
      const calls = Array.from({ length: limits.batch }, (_, i) => ({ id: sent + i, input: 0 }))
      void library.channel.send({ type: 'call', function: 'hang', calls })
    }
    await once(library.child, 'exit')
    assert.match((await library.end()).stderr, /JsonLinesError: more than 200000 calls wait/)
  })

  for (const [what, line] of [
    ['what is not JSON', 'hello'],
    ['a message out of turn', '{"type":"cancel","ids":[]}'],
    ['a message of no known type', '{"type":"dance"}'],
  ] as const) {
    test(`refuses ${what}`, time, async () => {
      await using library = await startLibrary()
      await library.channel.sendJson(line)
      const [code] = (await once(library.child, 'exit')) as [number]
      assert.equal(code, 1)
      assert.match((await library.end()).stderr, /JsonLinesError/)
    })
  }

  test('tells a user who starts it by hand that it is not for that', time, async () => {
    const child = spawn(process.execPath, [libraryProgram], { stdio: ['ignore', 'pipe', 'pipe'] })
    const exited = once(child, 'exit') as Promise<[number]>
    const [stderr, [code]] = await Promise.all([text(child.stderr), exited])
    assert.match(stderr, /a worker starts this program/)
    assert.equal(code, 1)
  })
})
