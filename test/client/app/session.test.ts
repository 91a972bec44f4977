import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createKeys } from '../../../src/client/app/keys.ts'
import { openSession } from '../../../src/client/app/session.ts'
import { connect, type Client } from '../../../src/client/index.ts'
import { until } from '../../support/until.ts'
import { fakeManager, type FakeManager } from '../fake-manager.ts'

const session = (client: Client, name = 'job') =>
  openSession(() => client.createJob({ name, context: 'echo' }))
const submissions = ({ requests }: FakeManager) => requests.filter((request) => request.endsWith('/tasks'))

describe('a session', () => {
  test('submits calls of one turn together, and gets each its own result', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    const calls = session(client)
    const rows = await Promise.all(Array.from({ length: 50 }, (_, i) => calls.submit(i).row))
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
    const before = session(first)
    await Promise.all([before.submit('a').row, before.submit('b').row, before.submit('a').row])
    await using second = connect({ state: manager.state })
    const after = session(second)
    const rows = [after.submit('b'), after.submit('a'), after.submit('c')]
    assert.deepEqual(await Promise.all(rows.map(async ({ row }) => (await row).value)), [2, 1, 4])
    // The other call with `a` has its result from before, whether or not anything else is running.
    assert.equal((await after.submit('a').row).value, 3)
    assert.deepEqual(runs, ['a', 'b', 'a', 'c'])
  })

  test('tells the factory of calls that are given up, and stops reading when nobody waits', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    manager.run = () => 'held'
    const calls = session(client)
    const [kept, dropped, unsent] = [calls.submit('kept'), calls.submit('dropped'), calls.submit('unsent')]
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
    const broken = openSession(() =>
      mended
        ? client.createJob({ name: 'mended', context: 'echo' })
        : Promise.reject(new Error('no such module')),
    )
    await assert.rejects(broken.submit(1).row, /no such module/)
    mended = true
    assert.equal((await broken.submit(1).row).status, 'done')
    manager.run = () => 'held'
    const calls = session(client)
    const { row } = calls.submit(1)
    await until(() => manager.jobs[1]?.tasks.size === 1)
    await client.job(2).cancel()
    await assert.rejects(row, /job job was cancelled/)
  })

  test('refuses arguments that are too long, and no others', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    const calls = session(client)
    const fine = calls.submit('short')
    assert.throws(() => calls.submit('x'.repeat(9 << 20)), /more than 8388608 bytes/)
    assert.deepEqual((await fine.row).value, { echo: 'short' })
  })

  test('that is closed leaves a job to be taken up, or cancels what has not ended', async () => {
    await using manager = await fakeManager()
    await using client = connect({ state: manager.state })
    manager.run = () => 'held'
    for (const cancel of [false, true]) {
      const calls = session(client, `job ${cancel}`)
      const { row } = calls.submit(1)
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
