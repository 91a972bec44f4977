import type { EventEmitter } from 'node:events'

/** A worker that asks for more has received what it was sent; one that does not, has after this long. Milliseconds. */
export const DELIVERY_MS = 1_000

/**
 * Knows when what was sent has been delivered. That an answer has left says little: a whole piece may wait in the queues of
 * the kernel. So it counts as delivered when its worker asks for more on the same connection, or that is closed.
 */
export type Deliveries = {
  begins(connection: EventEmitter, onDelivered: () => void): void
  /** A worker asks for more on this connection. */
  arrived(connection: EventEmitter): void
}

export function trackDeliveries(): Deliveries {
  const underWay = new WeakMap<EventEmitter, () => void>()
  return {
    begins(connection, onDelivered) {
      const delivered = () => {
        clearTimeout(timer)
        connection.off('close', delivered)
        underWay.delete(connection)
        onDelivered()
      }
      const timer = setTimeout(delivered, DELIVERY_MS).unref()
      connection.once('close', delivered)
      underWay.set(connection, delivered)
    },
    arrived: (connection) => underWay.get(connection)?.(),
  }
}
