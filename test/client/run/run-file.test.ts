import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { connect, InputError, runFile, type RunOptions, type RunProgress } from '../../../src/client/index.ts'
import { fakeManager, type Ending, type FakeManager } from '../fake-manager.ts'

interface Desk extends AsyncDisposable {
  manager: FakeManager
  input: string
  output: string
  run: (options?: Partial<RunOptions>) => ReturnType<typeof runFile>
  lines: () => Promise<Record<string, unknown>[]>
}

/** A folder with an input, and a manager to run it. */
async function desk(lines: unknown[]): Promise<Desk> {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-run-'))
  const manager = await fakeManager()
  const client = connect({ state: manager.state })
  const input = join(folder, 'claims.jsonl')
  const output = join(folder, 'results.jsonl')
  await writeFile(input, toJsonl(lines))
  return {
    manager,
    input,
    output,
    run: (options) => runFile(client, { input, output, context: 'echo', ...options }),
    lines: async () => parseLines(await readFile(output, 'utf8')),
    async [Symbol.asyncDispose]() {
      await client.close()
      await manager[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

const toJsonl = (lines: unknown[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')

function parseLines(text: string): Record<string, unknown>[] {
  assert.ok(text === '' || text.endsWith('\n'), 'the last line is complete')
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

const claims = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({
    id: `c${from + i}`,
    claim: `claim ${from + i}`,
    label: 'SUPPORTS',
  }))

const label = (value: string): Ending => ({ status: 'done', value: { label: value, text: ` ${value}` } })

describe('running a file of tasks', () => {
  test('writes one line a task, with its id, its status and the fields of its value', async () => {
    await using here = await desk([
      { id: 'x', claim: 'A' },
      { id: 17, claim: 'B' },
      'a string',
      { claim: 'no id' },
    ])
    const { manager, run, lines } = here
    const endings: Ending[] = [
      label('SUPPORTS'),
      { status: 'done', value: 'plain' },
      { status: 'done', value: { id: 'own id' } },
      { status: 'error', error: { name: 'TypeError', message: 'boom', stack: 'at x' } },
    ]
    manager.run = () => endings.shift() ?? 'held'
    const { done, failed } = await run()
    assert.deepEqual([done, failed], [3, 1])
    assert.deepEqual(await lines(), [
      { id: 'x', status: 'done', label: 'SUPPORTS', text: ' SUPPORTS' },
      { id: 17, status: 'done', value: 'plain' },
      { id: '3', status: 'done', value: { id: 'own id' } },
      { id: '4', status: 'error', error: 'TypeError: boom', stack: 'at x' },
    ])
  })

  test('gives tasks their whole line, the function asked for and the job its options', async () => {
    await using here = await desk([{ id: 'x', claim: 'A', evidence: 'B' }])
    const { manager, run } = here
    const inputs: unknown[] = []
    manager.run = (input) => {
      inputs.push(input)
      return label('SUPPORTS')
    }
    const { job } = await run({ function: 'shout', name: 'mine', job: { retries: 2 } })
    assert.deepEqual(inputs, [{ id: 'x', claim: 'A', evidence: 'B' }])
    assert.deepEqual([job.name, job.function, job.state], ['mine', 'shout', 'finished'])
  })

  test('goes on wherever a killed run left its output, whole or in the middle of a line', async () => {
    await using here = await desk(claims(20))
    const { run, output, lines } = here
    await run()
    const whole = await readFile(output)
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length), async (length) => {
        await writeFile(output, whole)
        await truncate(output, length)
        const { resumed, done } = await run()
        assert.deepEqual(await readFile(output), whole)
        assert.equal(resumed, whole.subarray(0, length).filter((byte) => byte === 0x0a).length)
        assert.equal(done, 20)
      }),
      { numRuns: 40 },
    )
    assert.equal((await lines()).length, 20)
    assert.equal(here.manager.jobs.length, 1)
  })

  test('goes on after being stopped between results', async () => {
    await using here = await desk(claims(30))
    const { manager, run, lines } = here
    manager.run = (_, key) => (Number(key.slice(1)) < 10 ? label('SUPPORTS') : 'held')
    const controller = new AbortController()
    const onProgress = ({ done }: RunProgress) => done === 10 && controller.abort(new Error('stopped'))
    await assert.rejects(run({ signal: controller.signal, onProgress }), /stopped/)
    assert.equal((await lines()).length, 10)

    manager.run = () => label('SUPPORTS')
    manager.release()
    const { done, resumed } = await run()
    assert.deepEqual([done, resumed], [30, 10])
    assert.equal(new Set((await lines()).map(({ id }) => id)).size, 30)
  })

  test('runs the lines that were added to the input since', async () => {
    await using here = await desk(claims(5))
    const { manager, run, input, lines } = here
    await run()
    await appendFile(input, toJsonl(claims(3, 5)))
    const { done, resumed } = await run()
    assert.deepEqual([done, resumed], [8, 5])
    assert.equal(new Set((await lines()).map(({ id }) => id)).size, 8)
    assert.equal(manager.jobs.length, 1)
  })

  test('does not touch an output that holds anything else', async () => {
    await using here = await desk(claims(3))
    const { manager, run, output } = here
    for (const text of ['{"a":1}', 'one line, no newline', '{"id":"c0","status":"done"}\n', '\n']) {
      await writeFile(output, text)
      await assert.rejects(run(), /is not the output of this job \(line 1\)/)
      assert.equal(await readFile(output, 'utf8'), text)
    }
    assert.equal(manager.jobs.length, 0)
    await rm(output)
    await run()
    await appendFile(output, '{"id":"c3"}\n')
    await assert.rejects(run(), /line 4/)
  })

  test('begins anew when told to, under a job of its own', async () => {
    await using here = await desk(claims(3))
    const { manager, run, output, lines } = here
    manager.run = () => 'held'
    const controller = new AbortController()
    const onProgress = ({ phase }: RunProgress) =>
      phase === 'running' && controller.abort(new Error('stopped'))
    await assert.rejects(run({ signal: controller.signal, onProgress }), /stopped/)
    await writeFile(
      output,
      'something much longer than the three results that are going to be written over it '.repeat(9),
    )
    manager.run = () => label('REFUTES')
    await run({ restart: true })
    assert.equal((await lines()).length, 3)
    assert.deepEqual(
      manager.jobs.map(({ info }) => info.state),
      ['cancelled', 'finished'],
    )
    assert.deepEqual((await run()).resumed, 3)
    assert.equal(manager.jobs.length, 2)
  })

  test('says that its job was cancelled, and how to begin anew', async () => {
    await using here = await desk(claims(3))
    const { manager, run } = here
    manager.run = () => 'held'
    const onProgress = ({ phase }: RunProgress) => {
      const [job] = manager.jobs
      if (phase !== 'running' || !job) return
      job.info.state = 'cancelled'
      manager.release()
    }
    assert.equal((await run({ onProgress })).job.state, 'cancelled')
    await assert.rejects(run(), /job 1 was cancelled: .* --restart begins anew/)
  })

  test('measures accuracy over all lines, those that failed included', async () => {
    await using here = await desk(claims(4))
    const endings: Ending[] = [
      label('SUPPORTS'),
      label('REFUTES'),
      label('SUPPORTS'),
      { status: 'error', error: { name: 'Error', message: 'no' } },
    ]
    here.manager.run = () => endings.shift() ?? 'held'
    assert.equal((await here.run({ expect: 'label' })).accuracy, 0.5)
  })
})

describe('an input that is not right', () => {
  const bad: [string, string, RegExp][] = [
    ['malformed JSON', '{"id":1}\n{"id":\n', /claims.jsonl: line 2 is not JSON/],
    ['a number', '{"id":1}\n\n3\n', /line 3 must be a JSON object or a JSON string/],
    ['an array', '[1]\n', /line 1 must be/],
    ['an id twice', '{"id":"x"}\n{"id":"y"}\n{"id":"x"}\n', /line 3 has the same id as line 1/],
    ['an id that is another line’s number', '{"id":"2"}\n"text"\n', /line 2 has the same id as line 1/],
    ['an id that is no id', '{"id":{}}\n', /line 1 has an id that is neither/],
    ['an id that is half a character', '{"id":"\\ud83d"}\n', /line 1 has an id that is not Unicode/],
    ['an empty id', '{"id":""}\n', /line 1 has an id that is empty/],
    ['nothing', '\n\n', /has no line that is a task/],
  ]
  for (const [what, text, message] of bad) {
    test(`is refused before anything is submitted: ${what}`, async () => {
      await using here = await desk([])
      await writeFile(here.input, text)
      await assert.rejects(here.run(), (error) => error instanceof InputError && message.test(error.message))
      assert.equal(here.manager.jobs.length, 0)
    })
  }

  test('is refused when it is not UTF-8', async () => {
    await using here = await desk([])
    await writeFile(here.input, Buffer.from([0x22, 0xff, 0x22, 0x0a]))
    await assert.rejects(here.run(), /line 1 is not UTF-8/)
  })

  test('runs without its bad lines when told to skip them', async () => {
    await using here = await desk([])
    await writeFile(here.input, '{"id":"a"}\n{oops\n{"id":"a"}\n7\nnull\n"last, without newline"')
    const { input, done } = await here.run({ skipInvalid: true })
    assert.deepEqual([done, input.tasks, input.invalid], [2, 2, 4])
    assert.deepEqual(
      input.examples.map(({ place }) => place),
      ['line 2', 'line 3', 'line 4'],
    )
    assert.deepEqual(
      (await here.lines()).map(({ id }) => id),
      ['a', '6'],
    )
  })

  test('is refused with names that are unknown', async () => {
    await using here = await desk(claims(1))
    const { run, input, manager } = here
    await assert.rejects(run({ context: 'ecco' }), /there is no context ecco: the factory knows echo/)
    await assert.rejects(run({ function: 'sing' }), /has no function sing: it has echo, shout/)
    await assert.rejects(run({ expect: 'verdict' }), /no line of .* has a field verdict/)
    await assert.rejects(run({ output: input }), /same file/)
    await assert.rejects(run({ input: `${input}.missing` }), { code: 'ENOENT' })
    assert.equal(manager.jobs.length, 0)
  })
})

const broken = (message: string): Ending => ({ status: 'error', error: { name: 'TypeError', message } })

describe('a run whose tasks fail', () => {
  test('ends when the first hundred all failed alike, and says what they have in common', async () => {
    await using here = await desk(claims(3_000))
    let ran = 0
    here.manager.run = () => (++ran <= 150 ? broken('no such module') : 'held')
    const { stopped, failed, job, errors } = await here.run()
    assert.deepEqual([stopped, job.state, failed], ['all-alike', 'cancelled', 150])
    assert.deepEqual(errors.errors[0]?.error.message, 'no such module')
  })

  test('goes on if it is told to, if one has succeeded, or if they failed in several ways', async () => {
    const endings: [Ending, Partial<RunOptions>][] = [
      [broken('boom'), { keepGoing: true }],
      [label('SUPPORTS'), {}],
      [broken('another'), {}],
    ]
    for (const [first, options] of endings) {
      await using here = await desk(claims(300))
      here.manager.run = (_input, key) => (key === 'c0' ? first : broken('boom'))
      const { stopped, job, done, failed } = await here.run(options)
      assert.deepEqual([stopped, job.state, done + failed], [undefined, 'finished', 300])
    }
  })

  test('ends at the first failure if it is told to', async () => {
    await using here = await desk(claims(50))
    here.manager.run = (_input, key) =>
      key === 'c3' ? broken('boom') : key > 'c3' ? 'held' : label('SUPPORTS')
    const { stopped, job, failed } = await here.run({ failFast: true })
    assert.deepEqual([stopped, job.state, failed], ['first-failure', 'cancelled', 1])
  })

  test('tells of the first failures as they come', async () => {
    await using here = await desk(claims(30))
    here.manager.run = (_input, key) => (key === 'c7' ? broken('boom') : label('SUPPORTS'))
    const told = new Set<unknown>()
    await here.run({ onProgress: ({ errors }) => errors && told.add(errors) })
    assert.deepEqual(
      [...told],
      [
        {
          failed: 1,
          kinds: 1,
          errors: [
            {
              tasks: 1,
              error: { name: 'TypeError', message: 'boom' },
              example: { key: 'c7', worker: 'w1', node: 'n1' },
            },
          ],
        },
      ],
    )
  })
})

describe('a run that is given again with what failed', () => {
  test('runs that alone, and its output has one line a task', async () => {
    await using here = await desk(claims(20))
    const ran: string[] = []
    here.manager.run = (_input, key) => (Number(key.slice(1)) % 4 === 0 ? broken('boom') : label('SUPPORTS'))
    assert.equal((await here.run()).failed, 5)
    here.manager.run = (_input, key) => {
      ran.push(key)
      return label('REFUTES')
    }
    const { done, failed } = await here.run({ retryFailed: true })
    assert.deepEqual([done, failed, ran.length], [20, 0, 5])
    const lines = await here.lines()
    assert.equal(new Set(lines.map(({ id }) => id)).size, 20)
    assert.equal(lines.length, 20)
    assert.equal(here.manager.jobs.length, 1)
  })

  test('also runs what a run that ended early had not run', async () => {
    await using here = await desk(claims(40))
    here.manager.run = (_input, key) => (key === 'c0' ? broken('boom') : 'held')
    await here.run({ failFast: true })
    await assert.rejects(here.run(), /job 1 was cancelled: --retry-failed goes on with it/)
    here.manager.run = () => label('SUPPORTS')
    const { done, failed, stopped } = await here.run({ retryFailed: true })
    assert.deepEqual([done, failed, stopped], [40, 0, undefined])
    assert.equal((await here.lines()).length, 40)
  })

  test('is an ordinary run if there was none before', async () => {
    await using here = await desk(claims(3))
    assert.equal((await here.run({ retryFailed: true })).done, 3)
  })

  test('writes its output anew if the job was retried in between, wherever it was cut off', async () => {
    await using here = await desk(claims(6))
    here.manager.run = (_input, key) => (key === 'c1' ? broken('boom') : label('SUPPORTS'))
    await here.run()
    const old = await readFile(here.output)
    here.manager.run = () => label('REFUTES')
    await using client = connect({ state: here.manager.state })
    await client.job(1).retry()
    for (let length = 0; length <= old.length; length += 7) {
      await writeFile(here.output, old.subarray(0, length))
      await here.run()
      const lines = await here.lines()
      assert.deepEqual(lines.map(({ id }) => id).toSorted(), ['c0', 'c1', 'c2', 'c3', 'c4', 'c5'])
      assert.ok(lines.every(({ status }) => status === 'done'))
    }
  })

  test('does not touch a file that is not its output, retried or not', async () => {
    await using here = await desk(claims(6))
    here.manager.run = (_input, key) => (key === 'c1' ? broken('boom') : label('SUPPORTS'))
    await here.run()
    await writeFile(here.output, toJsonl([{ id: 'c0', status: 'done', label: 'MINE' }]))
    await assert.rejects(here.run({ retryFailed: true }), InputError)
    assert.deepEqual(await here.lines(), [{ id: 'c0', status: 'done', label: 'MINE' }])
  })
})
