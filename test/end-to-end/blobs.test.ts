import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect, type Client } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { plant, type Plant } from './plant.ts'

const MIB = 2 ** 20

describe('large arguments and results', () => {
  let here: Plant
  let factory: Client

  before(async () => {
    here = await plant('sites: { here: { kind: local, count: 2 } }')
    await here.start()
    factory = connect({ state: here.state })
  })
  after(async () => {
    await factory.close()
    await here[Symbol.asyncDispose]()
  })
  const arithmetic = (client = factory) =>
    client.app<typeof import('./app/arithmetic.ts')>('./app/arithmetic.ts', { context: ['load', 100] })
  const stored = () => readdir(join(here.state, 'blobs'))

  test('travel beside the queue, each once, and come as they were', async () => {
    const { total, make } = arithmetic()
    const list = Float64Array.from({ length: MIB }, (_, i) => i % 7)
    const expected = list.reduce((a, b) => a + b, 0)
    const totals = await Promise.all(Array.from({ length: 20 }, (_, i) => total(list, new Float64Array([i]))))
    assert.deepEqual(
      totals,
      Array.from({ length: 20 }, (_, i) => expected + i),
    )
    assert.equal((await stored()).length, 1)
    assert.deepEqual(await make(100_000), Float64Array.from({ length: 100_000 }, (_, i) => i))
    assert.equal((await stored()).length, 2)
    // The ledger has no trace of eight million bytes.
    assert.ok((await stat(join(here.state, 'ledger.db'))).size < 2 * MIB)
  })
})
