import { connect, type Http2Session, performServerHandshake, type SessionOptions } from 'node:http2'
import type { Socket } from 'node:net'
import { type Duplex, PassThrough, type Readable, type Writable } from 'node:stream'
import { socketPair } from './socket-pair.ts'

/*
 * Many connections over one stream of bytes in each direction: each is a CONNECT of HTTP/2. One end dials, the other takes what is
 * dialled. An end that is silent for long counts as gone.
 */

/** How much of one connection, and of all together, may be under way, bytes: what a fast link holds in 100 ms and more. */
const CONNECTION_WINDOW = 4 << 20
const TUNNEL_WINDOW = 64 << 20
const CONNECTIONS_MOST = 100_000
/** How often the other end is asked whether it is still there, and after how long without an answer it is not, milliseconds. */
const ASK_MS = 10_000
const SILENT_MS = 30_000

const OPTIONS: SessionOptions & { streamResetBurst: number; streamResetRate: number } = {
  settings: {
    initialWindowSize: CONNECTION_WINDOW,
    maxConcurrentStreams: CONNECTIONS_MOST,
    enablePush: false,
  },
  peerMaxConcurrentStreams: CONNECTIONS_MOST,
  // MB: what connections hold that wait for slow readers.
  maxSessionMemory: 1_024,
  // Pilots end by the hundred.
  streamResetBurst: CONNECTIONS_MOST,
  streamResetRate: CONNECTIONS_MOST,
}

/** What a tunnel goes over. */
export interface Wire {
  readonly readable: Readable
  readonly writable: Writable
}

/** The end of a tunnel that dials. */
export interface Tunnel {
  /** A new connection to what is at the other end. It is destroyed with an error if the other end refuses it or goes. */
  readonly dial: () => Duplex
  /** Resolves once the tunnel has ended, whatever ended it. */
  readonly ended: Promise<void>
  readonly close: () => void
}

/** @param wire leads to where it is given to {@link serveTunnel} */
export async function openTunnel(wire: Wire): Promise<Tunnel> {
  const socket = await socketOver(wire)
  const session = connect('http://manager', { ...OPTIONS, createConnection: () => socket })
  // A session that is destroyed at once says that it is connected all the same.
  session.once('connect', () => {
    if (!session.destroyed) session.setLocalWindowSize(TUNNEL_WINDOW)
  })
  return {
    dial() {
      if (session.closed || session.destroyed) return brokenConnection('the tunnel has ended')
      const connection = session.request({ ':method': 'CONNECT', ':authority': 'manager' })
      connection.once('response', ({ ':status': status }) => {
        if (status !== 200) connection.destroy(new Error('the other end of the tunnel refuses a connection'))
      })
      return connection
    },
    ended: watch(session),
    close: () => session.destroy(),
  }
}

/** What is dialled where there is no tunnel. */
export const brokenConnection = (why: string): Duplex => new PassThrough().destroy(new Error(why))

/**
 * Takes the connections that are dialled at the other end.
 * @returns resolves once the tunnel has ended
 */
export async function serveTunnel(wire: Wire, onConnection: (connection: Duplex) => void): Promise<void> {
  const session = performServerHandshake(await socketOver(wire), OPTIONS)
  session.setLocalWindowSize(TUNNEL_WINDOW)
  session.on('stream', (connection, { ':method': method }) => {
    connection.on('error', () => {})
    connection.respond({ ':status': method === 'CONNECT' ? 200 : 405 })
    if (method === 'CONNECT') onConnection(connection)
    else connection.end()
  })
  await watch(session)
}

/**
 * A socket of this process for what goes over a wire. Node can have HTTP/2 over other streams, too, but then what is still said after
 * the other side's end fails an assertion, which ends the process; and each write waits for a turn of the event loop.
 */
async function socketOver({ readable, writable }: Wire): Promise<Socket> {
  const [near, far] = await socketPair()
  for (const stream of [near, far, readable, writable]) stream.on('error', () => {})
  readable.pipe(far)
  far.pipe(writable)
  // However the wire ends, the tunnel does.
  readable.once('close', () => far.end())
  writable.once('close', () => far.destroy())
  far.once('close', () => writable.end())
  if (readable.destroyed || writable.destroyed) far.destroy()
  return near
}

/** Ends a session when the other end falls silent. @returns resolves once it has ended */
function watch(session: Http2Session): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  let heardAt = performance.now()
  const timer = setInterval(() => {
    // A session whose stream does not close never says that it has ended.
    if (session.destroyed) end()
    else if (performance.now() - heardAt > SILENT_MS) session.destroy()
    else session.ping((error) => (heardAt = error ? heardAt : performance.now()))
  }, ASK_MS)
  session.on('error', () => {})
  const end = () => {
    clearInterval(timer)
    resolve()
  }
  session.once('close', end)
  return promise
}
