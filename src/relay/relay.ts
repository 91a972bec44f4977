import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import type { Store } from '../bundle/store/store.ts'
import { type Crossed, forward, keptAlive } from '../common/tunnel/forward.ts'
import { createThrottle } from '../common/tunnel/throttle.ts'
import { openPieceCache } from './piece-cache.ts'

/** Time for a connection to say what it wants, milliseconds. */
const FIRST_MS = 10_000
/** Connections at once; more are turned away. */
const CONNECTIONS_MOST = 10_000

/** How requests for pieces and for what pilots boot from begin. What is encrypted does not, nor does anything else that pilots ask. */
const PIECES = 'GET /v1/pieces/'
const RUNTIME = 'GET /v1/runtime/'

export interface RelayOptions {
  /** Several addresses of this machine get the same port. */
  listen: { hosts: readonly string[]; port: number }
  /** A new connection to the manager. */
  dial: () => Duplex
  /** Whether the manager speaks TLS, and its certificate, PEM. */
  protocol: 'http:' | 'https:'
  certificate?: string | undefined
  /** Keeps the bundles of the site. */
  store: Store
  /** Folder with the archives that pilots boot from, each named by its SHA-256. Default: pilots ask the manager for them. */
  runtimes?: string
  /** Most bytes a second from the manager. Default: no limit. */
  bytesPerSecond?: number | undefined
  log: Logger
}

/** A relay that runs. */
export interface Relay extends AsyncDisposable {
  /** Where pilots reach it. */
  readonly port: number
  /** Bytes that crossed the link to the manager. */
  readonly crossed: Readonly<Crossed>
}

/**
 * Stands between the pilots of a site and a manager that they cannot reach: carries their connections to it as they are, and answers
 * requests for pieces of bundles itself, so that a bundle crosses the link to the manager once. Both at one port.
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const { listen, dial, protocol, store, certificate, runtimes, log } = options
  const throttle = createThrottle(options.bytesPerSecond)
  const crossed: Crossed = { fromManager: 0, toManager: 0 }
  const pass = (socket: Socket) => void forward(keptAlive(socket), dial(), throttle, crossed)
  const served = [PIECES, ...(runtimes === undefined ? [] : [RUNTIME])].map((text) => Buffer.from(text))
  await using opened = new AsyncDisposableStack()

  // The cache's own connections go the same way, so that they are counted and limited with the others.
  const inner = opened.use(
    await open(createServer({ allowHalfOpen: true, pauseOnConnect: true }, pass), '127.0.0.1', 0),
  )
  const origin = `${protocol}//127.0.0.1:${inner.port}`
  const cache = opened.use(await openPieceCache({ store, runtimes, origin, certificate, log }))
  const take = (socket: Socket) =>
    first(socket, served).then(
      (bytes) => {
        if (!bytes) return socket.destroy()
        socket.unshift(bytes)
        if (served.some((start) => startsWith(bytes, start))) cache.take(socket)
        else pass(socket)
        return undefined
      },
      () => socket.destroy(),
    )
  let port = listen.port
  for (const host of listen.hosts) {
    const outer = opened.use(
      await open(
        createServer({ allowHalfOpen: true }, (socket) => void take(socket)),
        host,
        port,
      ),
    )
    port = outer.port
  }
  log.info({ hosts: listen.hosts, port }, 'relay started')
  const all = opened.move()
  return { port, crossed, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

const startsWith = (bytes: Buffer, start: Buffer) => bytes.subarray(0, start.length).equals(start)

/** The first bytes of a connection, enough of them to tell whether it begins in one of some ways; undefined if none come. */
async function first(socket: Socket, ways: readonly Buffer[]): Promise<Buffer | undefined> {
  const signal = AbortSignal.timeout(FIRST_MS)
  let bytes = Buffer.alloc(0)
  const mayBecome = (way: Buffer) => bytes.length < way.length && startsWith(way, bytes)
  socket.on('error', () => {})
  while (ways.some(mayBecome)) {
    const chunk = socket.read() as Buffer | null
    if (chunk) bytes = Buffer.concat([bytes, chunk])
    else if (socket.readableEnded || socket.destroyed) return undefined
    else await once(socket, 'readable', { signal })
  }
  return bytes
}

async function open(server: Server, host: string, port: number): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>()
  server.maxConnections = CONNECTIONS_MOST
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(port, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
