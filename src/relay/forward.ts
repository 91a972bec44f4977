import { connect, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Throttle } from './throttle.ts'

/** Longest wait for the manager to be reached, milliseconds. */
const CONNECT_MS = 10_000
/** When nothing is heard of either side, it is asked whether it is still there, milliseconds. */
const KEEP_ALIVE_MS = 30_000

/** Bytes that crossed the link to the manager. */
export interface Crossed {
  fromManager: number
  toManager: number
}

/**
 * Carries a connection on to the manager, both ways, as it is: what is encrypted stays so. It ends when either side does.
 * @param client must not have been read from
 */
export async function forward(
  client: Socket,
  manager: { host: string; port: number },
  throttle: Throttle,
  crossed: Crossed,
): Promise<void> {
  const upstream = connect(manager)
  const late = setTimeout(
    () => upstream.destroy(new Error('the manager was not reached in time')),
    CONNECT_MS,
  )
  upstream.once('connect', () => clearTimeout(late))
  upstream.on('data', (bytes: Buffer) => (crossed.fromManager += bytes.length)).pause()
  for (const socket of [client, upstream]) {
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
    // What breaks one breaks the other.
    socket.on('error', () => {})
  }
  const down = pipeline(upstream, throttle.stream(), client)
  const up = pipeline(client, upstream)
  await Promise.allSettled([down, up])
  clearTimeout(late)
  crossed.toManager += upstream.bytesWritten
  client.destroy()
  upstream.destroy()
}
