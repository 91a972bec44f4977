import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect, type Client } from '../../src/client/index.ts'
import type { Running } from '../cli/cli.ts'
import { until } from '../support/until.ts'
import { plant, type Plant } from './factory-fixture.ts'

const MIB = 2 ** 20

describe('large arguments and results', () => {
  let here: Plant
  let running: Running
  let factory: Client

  before(async () => {
    here = await plant('sites: { here: { kind: local, count: 2 } }')
    running = await here.start()
    factory = connect({ state: here.state })
  })
  after(async () => {
    await factory.close()
    await here[Symbol.asyncDispose]()
  })
  const arithmetic = (client = factory) =>
    client.app<typeof import('./app/arithmetic.ts')>('./app/arithmetic.ts', { context: ['load', 100] })
  /** Names of those that are whole. */
  const stored = async () =>
    (await readdir(join(here.state, 'blobs'))).filter((name) => !name.endsWith('.new'))

  test('travel beside the queue, each once, and come as they were', async () => {
    const { total, make } = arithmetic()
    await total()
    // The module came as blobs too.
    const before = (await stored()).length
    const list = Float64Array.from({ length: MIB }, (_, i) => i % 7)
    const expected = list.reduce((a, b) => a + b, 0)
    const totals = await Promise.all(Array.from({ length: 20 }, (_, i) => total(list, new Float64Array([i]))))
    assert.deepEqual(
      totals,
      Array.from({ length: 20 }, (_, i) => expected + i),
    )
    assert.equal((await stored()).length, before + 1)
    assert.deepEqual(
      await make(100_000),
      Float64Array.from({ length: 100_000 }, (_, i) => i),
    )
    assert.equal((await stored()).length, before + 2)
    // The ledger has no trace of eight million bytes.
    assert.ok((await stat(join(here.state, 'ledger.db'))).size < 2 * MIB)
  })

  test('go from worker to worker when one call depends on another: the client sees none of it', async () => {
    const { total, make } = arithmetic()
    const transfers: string[] = []
    const note = (message: unknown) => {
      const { request } = message as { request: { method: string; path: string } }
      if (request.path.startsWith('/v1/blobs/')) transfers.push(`${request.method} ${request.path}`)
    }
    subscribe('undici:request:create', note)
    try {
      const halves = [make(60_001), make(60_002)]
      const sums = await Promise.all([total(...halves), total(halves[0]!)])
      assert.deepEqual(sums, [(60_000 * 60_001) / 2 + (60_001 * 60_002) / 2, (60_000 * 60_001) / 2])
      assert.deepEqual(transfers, [])
      assert.equal((await halves[0]!).length, 60_001)
      assert.equal(transfers.length, 1)
    } finally {
      unsubscribe('undici:request:create', note)
    }
  })

  test('are still right after the manager was killed in the middle of them', async () => {
    const { total, make } = arithmetic()
    const sizes = Array.from({ length: 60 }, (_, i) => 100_000 + i)
    const before = (await stored()).length
    const totals = sizes.map((size) =>
      total(
        make(size),
        Float64Array.from({ length: 20_000 + size }, () => 1),
      ),
    )
    await until(async () => (await stored()).length > before + 10)
    running.child.kill('SIGKILL')
    await running.ended
    running = await here.start()
    assert.deepEqual(
      await Promise.all(totals),
      sizes.map((size) => (size * (size - 1)) / 2 + 20_000 + size),
    )
    for (const name of await stored()) {
      const bytes = await readFile(join(here.state, 'blobs', name))
      assert.equal(hash('sha256', bytes), name)
    }
  })

  test('are there for an application that is started again, whose calls they were', async () => {
    const named = (client: Client) => arithmetic(client).make.with({ job: 'large' })
    await using first = connect({ state: here.state })
    assert.equal((await named(first)(70_001)).length, 70_001)
    await first.close()
    await using second = connect({ state: here.state })
    assert.deepEqual(
      await named(second)(70_001),
      Float64Array.from({ length: 70_001 }, (_, i) => i),
    )
  })

  test('that are too large to travel are refused, with what to do, where they are made', async () => {
    const { length, huge } = arithmetic()
    await assert.rejects(length('x'.repeat(257 * MIB)), /257 MiB is more than the 256 MiB that can travel/)
    await assert.rejects(huge(257 * MIB), /257 MiB is more than the 256 MiB that can travel/)
  })
})
