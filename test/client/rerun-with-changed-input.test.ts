import assert from 'node:assert/strict'
import { copyFile, mkdtemp, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { connect, runFile, type Client, type RunOptions, type RunProgress } from '../../src/client/index.ts'
import { addContext } from '../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import type { Manager } from '../../src/manager/manager.ts'
import { ask, CONTEXT, HttpWorker, makeState, removeState, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'

type Line = Record<string, unknown>

let folder: string
let state: string
let manager: Manager & { token: string }
let client: Client
let input: string
let output: string
let working: AsyncDisposable

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-run-again-'))
  state = await makeState()
  manager = await startOn(state)
  client = connect({ state })
  input = join(folder, 'in.jsonl')
  output = join(folder, 'out.jsonl')
  working = work()
})

afterEach(async () => {
  await working[Symbol.asyncDispose]()
  await client.close()
  await manager.close()
  await removeState(state)
  await rm(folder, { recursive: true })
})

/** A worker that answers each task with its own input, until it is disposed of. */
function work(room = 100): AsyncDisposable {
  let over = false
  const run = async () => {
    const worker = await HttpWorker.register(manager)
    while (!over) if ((await worker.workUntilIdle(room)) === 0) await sleep(5)
    await worker.die()
  }
  const running = run()
  return {
    async [Symbol.asyncDispose]() {
      over = true
      await running
    },
  }
}

const give = (lines: unknown[]) => writeFile(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
const run = (options: Partial<RunOptions> = {}) =>
  runFile(client, { input, output, context: CONTEXT.name, ...options })

/** What the output says of each task, by its id; no id twice. */
async function answers(): Promise<Record<string, unknown>> {
  const lines = (await readFile(output, 'utf8')).split('\n').slice(0, -1)
  const rows = lines.map((line) => JSON.parse(line) as Line)
  assert.equal(new Set(rows.map(({ id }) => id)).size, rows.length, 'no task has two lines')
  return Object.fromEntries<unknown>(
    rows.map(({ id, value }) => [String(id), typeof value === 'string' ? value : (value as Line).claim]),
  )
}

describe('a run that is repeated with a changed input', () => {
  test('has no line answered by the result of its peer after one was inserted', async () => {
    await give(['a', 'b', 'c'])
    await run()
    await give(['new', 'a', 'b', 'c'])
    const { changed, done } = await run()
    assert.deepEqual([changed, done], [3, 4])
    assert.deepEqual(await answers(), { 1: 'new', 2: 'a', 3: 'b', 4: 'c' })
  })

  test('runs the lines anew that were edited, and no other', async () => {
    const lines = Array.from({ length: 50 }, (_, i) => ({ id: `t${i}`, claim: `claim ${i}` }))
    await give(lines)
    await run()
    lines[7]!.claim = 'edited'
    lines.reverse()
    await give(lines)
    const { changed, done, job } = await run()
    assert.deepEqual([changed, done, job.tasks, job.state], [1, 50, 50, 'finished'])
    const found = await answers()
    assert.deepEqual([found.t7, found.t8, Object.keys(found).length], ['edited', 'claim 8', 50])
    const again = await run()
    assert.deepEqual([again.changed, again.resumed], [0, 50])
  })

  test('takes back what was edited while it waits or runs', async () => {
    await working[Symbol.asyncDispose]()
    await give(['a', 'b'])
    const stop = new AbortController()
    const onProgress = ({ phase }: RunProgress) => phase === 'running' && stop.abort(new Error('stopped'))
    await assert.rejects(run({ signal: stop.signal, onProgress }), /stopped/)
    const holder = await HttpWorker.register(manager)
    const [lease] = (await holder.exchange({ room: 1 })).body.leases
    await give(['x', 'y'])
    const running = run()
    await until(
      async () =>
        (await client.jobs())[0]?.tasks === 2 &&
        (await holder.exchange({ leases: [lease!.lease] })).body.cancel.length > 0,
    )
    const late = {
      task: lease!.tasks[0]!.task,
      lease: lease!.lease,
      outcome: { status: 'done', value: 'a' },
      ms: 1,
    } as const
    await holder.exchange({ results: [late] })
    await holder.die()
    working = work()
    const { changed, done } = await running
    assert.deepEqual([changed, done], [2, 2])
    assert.deepEqual(await answers(), { 1: 'x', 2: 'y' })
  })
})

describe('numbers that JavaScript would change', () => {
  const lines = [
    '{"id":1234567890123456789,"n":9007199254740993}',
    '{"id":1234567890123456790,"n":-0}',
    '{"id":"7","n":1.50}',
    '{"id":8,"n":[1e400,0.12345678901234567890]}',
  ]

  test('come back in ids and values as they were in the input', async () => {
    await writeFile(input, `${lines.join('\n')}\n`)
    const { done } = await run()
    assert.equal(done, 4)
    const found = (await readFile(output, 'utf8')).split('\n').slice(0, -1).toSorted()
    const wanted = lines.map(
      (line) => `{"id":${/"id":([^,]*)/.exec(line)![1]},"status":"done","value":${line}}`,
    )
    assert.deepEqual(found, wanted.toSorted())
    assert.deepEqual((await run()).resumed, 4)
    await writeFile(input, `${lines.join('\n').replace('9007199254740993', '9007199254740992')}\n`)
    assert.equal((await run()).changed, 1)
  })

  test('are bigints in results for programs, and may be in inputs', async () => {
    const job = await client.createJob({ name: 'numbers', context: CONTEXT.name })
    await job.add([{ key: 'a', input: { n: 2n ** 60n } }])
    await job.close()
    const rows = await Array.fromAsync(job.results())
    assert.deepEqual(
      rows.map(({ value }) => value),
      [{ n: 2n ** 60n }],
    )
  })
})

test('a context that has changed since is said to have, and nothing of what was made is touched', async () => {
  await give(['a', 'b'])
  const { job } = await run()
  const text = await readFile(output, 'utf8')
  await working[Symbol.asyncDispose]()
  await manager.close()
  const ledger = new Ledger(join(state, 'ledger.db'), pino({ level: 'silent' }))
  await addContext(ledger, { ...CONTEXT, id: 'd'.repeat(64) }, 2)
  await ledger.close()
  manager = await startOn(state)
  working = work()
  await assert.rejects(run(), new RegExp(`context ${CONTEXT.name} has changed since job ${job.id}`))
  await assert.rejects(run({ name: job.name }), /has changed since job/)
  assert.equal(await readFile(output, 'utf8'), text)
})

test('a ledger that is restored from a backup while a run waits costs it no line and doubles none', async () => {
  await working[Symbol.asyncDispose]()
  const lines = Array.from({ length: 60 }, (_, i) => ({ id: `t${i}`, claim: i }))
  await give(lines)
  const running = run()
  await until(async () => (await client.jobs())[0]?.closed === true)
  const worker = await HttpWorker.register(manager)
  const some = async (count: number) => {
    const [lease] = (await worker.exchange({ room: count })).body.leases
    const results = lease!.tasks.map(({ task, input: value }) => ({
      task,
      lease: lease!.lease,
      outcome: { status: 'done' as const, value },
      ms: 1,
    }))
    await worker.exchange({ results })
  }
  await some(10)
  const backup = join(folder, 'backup.db')
  await ask(manager.url, manager.token, '/v1/backup', { file: backup })
  await some(20)
  await until(async () => Object.keys(await answers()).length === 30)
  await worker.die()
  await manager.close()
  await copyFile(backup, join(state, 'ledger.db'))
  manager = await startOn(state)
  working = work(7)
  const { done } = await running
  assert.equal(done, 60)
  assert.deepEqual(await answers(), Object.fromEntries(lines.map(({ id, claim }) => [id, claim])))
})

describe('an output that something else touches while the run goes on', () => {
  const harms: [string, () => Promise<void>][] = [
    ['removed', () => rm(output)],
    ['emptied', () => truncate(output)],
    ['shortened in the middle of a line', async () => truncate(output, (await stat(output)).size - 5)],
    ['moved away', () => rename(output, `${output}.old`)],
    [
      'replaced by a copy of its first lines',
      async () => {
        const text = await readFile(output, 'utf8')
        await writeFile(`${output}.new`, text.slice(0, text.indexOf('\n', 40) + 1))
        await rename(`${output}.new`, output)
      },
    ],
    [
      'overwritten in its middle',
      async () => {
        const text = await readFile(output, 'utf8')
        await writeFile(output, text.replace('t3', 'XX'), { flag: 'r+' })
      },
    ],
  ]
  for (const [what, harm] of harms) {
    test(`has all lines in the end, when it was ${what}`, async () => {
      await working[Symbol.asyncDispose]()
      const lines = Array.from({ length: 20 }, (_, i) => ({ id: `t${i}`, claim: i }))
      await give(lines)
      const running = run()
      await until(async () => (await client.jobs())[0]?.closed === true)
      const worker = await HttpWorker.register(manager)
      const [lease] = (await worker.exchange({ room: 10 })).body.leases
      const results = lease!.tasks.map(({ task, input: value }) => ({
        task,
        lease: lease!.lease,
        outcome: { status: 'done' as const, value },
        ms: 1,
      }))
      await worker.exchange({ results })
      await until(async () => Object.keys(await answers()).length === 10)
      await harm()
      await worker.die()
      working = work()
      assert.equal((await running).done, 20)
      assert.deepEqual(await answers(), Object.fromEntries(lines.map(({ id, claim }) => [id, claim])))
    })
  }

  test('is not overwritten when another file is in its place', async () => {
    await working[Symbol.asyncDispose]()
    await give(['a'])
    const running = run()
    await until(async () => (await client.jobs())[0]?.closed === true)
    await writeFile(`${output}.new`, 'precious\n')
    await rename(`${output}.new`, output)
    working = work()
    await assert.rejects(running, /is not the output of this job/)
    assert.equal(await readFile(output, 'utf8'), 'precious\n')
  })
})
