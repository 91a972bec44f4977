import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { joinConnections } from '../join-connections.ts'
import type { Throttle } from './throttle.ts'

/** Longest wait for the far end to be reached, milliseconds. */
const CONNECT_MS = 10_000
/** When nothing is heard of either side, it is asked whether it is still there, milliseconds. */
const KEEP_ALIVE_MS = 30_000

/** Bytes that were carried. */
export interface Crossed {
  fromManager: number
  toManager: number
}

/** A connection to an address; given up by itself if there is no answer. */
export function dialAddress(address: { host: string; port: number }): Socket {
  const socket = connect({ ...address, allowHalfOpen: true })
  const late = setTimeout(
    () => socket.destroy(new Error(`${address.host} was not reached in time`)),
    CONNECT_MS,
  )
  for (const event of ['connect', 'close']) socket.once(event, () => clearTimeout(late))
  return keptAlive(socket)
}

/** Has small messages leave at once, and a connection whose other side has vanished end. */
export function keptAlive(socket: Socket): Socket {
  return socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
}

/**
 * Carries one connection on over another, both ways, as it is: what is encrypted stays so.
 * @param client must not have been read from
 * @param upstream leads to the manager; what comes from there is what the throttle limits
 */
export async function forward(
  client: Duplex,
  upstream: Duplex,
  throttle: Throttle,
  crossed: Crossed,
): Promise<void> {
  upstream.on('data', (bytes: Buffer) => (crossed.fromManager += bytes.length)).pause()
  client.on('data', (bytes: Buffer) => (crossed.toManager += bytes.length)).pause()
  await joinConnections(upstream, client, { through: throttle.limited ? throttle.stream() : undefined })
}
