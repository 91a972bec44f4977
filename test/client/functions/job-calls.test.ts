import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createKeys } from '../../../src/client/functions/call-keys.ts'
import { openJobCalls } from '../../../src/client/functions/job-calls.ts'
import { connect, type Client } from '../../../src/client/index.ts'
import type { JsonValue } from '../../../src/protocol/primitives.ts'
import { until } from '../../support/until.ts'
import { fakeManager, type FakeManager } from '../fake-manager.ts'

const given = (json: JsonValue) => ({ json, parts: [] })
const noBlobs = { put: () => Promise.reject(new Error('there are no blobs here')) }
const open = (client: Client, name = 'job') =>
  openJobCalls(() => client.createJob({ name, context: 'echo' }), noBlobs)
const submissions = ({ requests }: FakeManager) => requests.filter((request) => request.endsWith('/tasks'))

describe('the calls of a job', () => {
  test('submits calls of one turn together, and gets each its own result', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    const calls = open(client)
    const rows = await Promise.all(Array.from({ length: 50 }, (_, i) => calls.submit(given(i)).row))
    assert.deepEqual(
      rows.map(({ value }) => value),
      Array.from({ length: 50 }, (_, i) => ({ echo: i })),
    )
    assert.equal(submissions(manager).length, 1)
  })

  test('started again under the same name takes up what has ended, and runs nothing twice', async () => {
    await using manager = await fakeManager()
    const runs: unknown[] = []
    manager.run = (input) => {
      runs.push(input)
      return { status: 'done', value: runs.length }
    }
    await using first = connect({ state: manager.state })
    const before = open(first)
    await Promise.all([
      before.submit(given('a')).row,
      before.submit(given('b')).row,
      before.submit(given('a')).row,
    ])
    await using second = connect({ state: manager.state })
    const after = open(second)
    const rows = [after.submit(given('b')), after.submit(given('a')), after.submit(given('c'))]
    assert.deepEqual(await Promise.all(rows.map(async ({ row }) => (await row).value)), [2, 1, 4])
    // The other call with `a` has its result from before, whether or not anything else is running.
    assert.equal((await after.submit(given('a')).row).value, 3)
    assert.deepEqual(runs, ['a', 'b', 'a', 'c'])
  })

  test('tells the factory of calls that are given up, and stops reading when no call is waited for', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    manager.run = () => 'held'
    const calls = open(client)
    const [kept, dropped, unsent] = [
      calls.submit(given('kept')),
      calls.submit(given('dropped')),
      calls.submit(given('unsent')),
    ]
    unsent.cancel()
    await until(() => manager.jobs[0]?.tasks.size === 2)
    dropped.cancel()
    await until(() => manager.cancelled.includes(dropped.key))
    manager.run = (input) => ({ status: 'done', value: input as string })
    manager.release()
    assert.equal((await kept.row).value, 'kept')
  })

  test('fails its calls if their job cannot be made, or is cancelled', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    let mended = false
    const broken = openJobCalls(
      () =>
        mended
          ? client.createJob({ name: 'mended', context: 'echo' })
          : Promise.reject(new Error('no such module')),
      noBlobs,
    )
    await assert.rejects(broken.submit(given(1)).row, /no such module/)
    mended = true
    assert.equal((await broken.submit(given(1)).row).status, 'done')
    manager.run = () => 'held'
    const calls = open(client)
    const { row } = calls.submit(given(1))
    await until(() => manager.jobs[1]?.tasks.size === 1)
    await client.job(2).cancel()
    await assert.rejects(row, /job job was cancelled/)
  })

  test('refuses arguments that are too long, and no others', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    const calls = open(client)
    const fine = calls.submit(given('short'))
    assert.throws(() => calls.submit(given('x'.repeat(9 << 20))), /too many large parts/)
    assert.deepEqual((await fine.row).value, { echo: 'short' })
  })

  test('that is closed leaves a job to be taken up, or cancels what has not ended', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    manager.run = () => 'held'
    for (const cancel of [false, true]) {
      const calls = open(client, `job ${cancel}`)
      const { row } = calls.submit(given(1))
      const rejected = assert.rejects(row, /connection to the factory was closed/)
      const index = Number(cancel)
      await until(() => manager.jobs[index]?.tasks.size === 1)
      await calls.close({ cancel })
      await rejected
      assert.equal(manager.jobs[index]!.info.state, cancel ? 'cancelled' : 'open')
      assert.equal(manager.jobs[index]!.info.closed, !cancel)
    }
  })
})

test('calls are named by content and turn, whatever stands between them', () => {
  const [one, two] = [createKeys(), createKeys()]
  const [a, b, a2] = [one('a'), one('b'), one('a')]
  assert.equal(new Set([a, b, a2]).size, 3)
  assert.deepEqual([two('b'), two('a'), two('a')], [b, a, a2])
})
