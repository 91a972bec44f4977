import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { describe, test } from 'node:test'
import { DELIVERY_MS, trackDeliveries } from '../../src/bundle/deliveries.ts'

describe('what was sent counts as delivered, once', () => {
  const ways: Record<
    string,
    (connection: EventEmitter, arrived: () => void, pass: (ms: number) => void) => void
  > = {
    'when its worker asks for more': (_connection, arrived) => arrived(),
    'when the connection is closed': (connection) => connection.emit('close'),
    'after a while': (_connection, _arrived, pass) => pass(DELIVERY_MS),
  }
  for (const [way, happen] of Object.entries(ways)) {
    test(way, (t) => {
      t.mock.timers.enable({ apis: ['setTimeout'] })
      const deliveries = trackDeliveries()
      const [connection, another] = [new EventEmitter(), new EventEmitter()]
      let delivered = 0
      deliveries.begins(connection, () => delivered++)
      deliveries.arrived(another)
      t.mock.timers.tick(DELIVERY_MS - 1)
      assert.equal(delivered, 0)
      happen(
        connection,
        () => deliveries.arrived(connection),
        (ms) => t.mock.timers.tick(ms),
      )
      assert.equal(delivered, 1)
      for (const again of Object.values(ways)) {
        again(
          connection,
          () => deliveries.arrived(connection),
          (ms) => t.mock.timers.tick(ms),
        )
      }
      assert.equal(delivered, 1)
      assert.equal(connection.listenerCount('close'), 0)
    })
  }
})
