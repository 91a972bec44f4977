import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { connect, RemoteError } from '../../src/client/index.ts'
import { plant } from './plant.ts'

describe('an application', () => {
  test('calls the functions of its own module', async () => {
    await using here = await plant('sites: { here: { kind: local, count: 1 } }')
    await here.start()
    await using factory = connect({ state: here.state })
    const app = factory.app<typeof import('./app/arithmetic.ts')>('./app/arithmetic.ts', {
      context: ['load', 100],
    })
    assert.equal(await app.add(1, 2), 103)
    const seen = await app.shape({ at: new Date(5), bytes: new Uint8Array([1, 2]), seen: new Set(['a']) })
    assert.deepEqual(seen, new Map([[new Date(5), { length: 2, seen: ['a'], last: Buffer.from([1, 2]) }]]))
    await assert.rejects(app.fail('luck'), (error: RemoteError) => {
      assert.ok(error instanceof RemoteError)
      assert.deepEqual([error.name, error.message, error.worker], ['RangeError', 'no luck today', 'w1'])
      assert.match(error.stack!, /at fail \(.*\/test\/end-to-end\/app\/arithmetic\.ts:\d+:\d+\)$/)
      return true
    })
  })
})
