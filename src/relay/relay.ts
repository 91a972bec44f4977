import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Store } from '../bundle/store/store.ts'
import { type Crossed, forward } from './forward.ts'
import { openPieceCache } from './piece-cache.ts'
import { createThrottle } from './throttle.ts'

/** Time for a connection to say what it wants, milliseconds. */
const FIRST_MS = 10_000
/** Connections at once; more are turned away. */
const CONNECTIONS_MOST = 10_000

/** How requests for pieces begin. What is encrypted does not, nor does anything else that pilots ask. */
const PIECES = Buffer.from('GET /v1/pieces/')

export interface RelayOptions {
  listen: { host: string; port: number }
  /** The manager's URL, as this machine reaches it. */
  manager: string
  /** The manager's certificate, PEM. */
  certificate?: string | undefined
  /** Keeps the bundles of the site. */
  store: Store
  /** Most bytes a second from the manager. Default: no limit. */
  bytesPerSecond?: number | undefined
  log: Logger
}

/** A relay that runs. */
export interface Relay extends AsyncDisposable {
  /** Where pilots reach it. */
  readonly port: number
  /** Bytes that crossed the link to the manager; those of connections that are open are counted in one direction only. */
  readonly crossed: Readonly<Crossed>
}

/**
 * Stands between the pilots of a site and a manager that they cannot reach: carries their connections to it as they are, and answers
 * requests for pieces of bundles itself, so that a bundle crosses the link to the manager once. Both at one port.
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const { listen, store, certificate, log } = options
  const manager = new URL(options.manager)
  const target = {
    host: manager.hostname.replace(/^\[|\]$/g, ''),
    port: Number(manager.port) || (manager.protocol === 'https:' ? 443 : 80),
  }
  const throttle = createThrottle(options.bytesPerSecond)
  const crossed: Crossed = { fromManager: 0, toManager: 0 }
  const pass = (socket: Socket) => void forward(socket, target, throttle, crossed)
  await using opened = new AsyncDisposableStack()

  // The cache's own connections go the same way, so that they are counted and limited with the others.
  const inner = opened.use(
    await open(createServer({ pauseOnConnect: true }, pass), { host: '127.0.0.1', port: 0 }),
  )
  const origin = `${manager.protocol}//127.0.0.1:${inner.port}`
  const cache = opened.use(await openPieceCache({ store, origin, certificate, log }))
  const server = createServer((socket) => {
    first(socket).then(
      (bytes) => {
        if (!bytes) return socket.destroy()
        socket.unshift(bytes)
        if (bytes.subarray(0, PIECES.length).equals(PIECES)) cache.take(socket)
        else pass(socket)
        return undefined
      },
      () => socket.destroy(),
    )
  })
  const outer = opened.use(await open(server, listen))
  log.info({ ...listen, port: outer.port, manager: options.manager }, 'relay started')
  const all = opened.move()
  return { port: outer.port, crossed, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** The first bytes of a connection, enough of them to tell what it is; undefined if none come. */
async function first(socket: Socket): Promise<Buffer | undefined> {
  const signal = AbortSignal.timeout(FIRST_MS)
  let bytes = Buffer.alloc(0)
  socket.on('error', () => {})
  while (bytes.length < PIECES.length && PIECES.subarray(0, bytes.length).equals(bytes)) {
    const chunk = socket.read() as Buffer | null
    if (chunk) bytes = Buffer.concat([bytes, chunk])
    else if (socket.readableEnded || socket.destroyed) return undefined
    else await once(socket, 'readable', { signal })
  }
  return bytes
}

async function open(
  server: Server,
  { host, port }: { host: string; port: number },
): Promise<AsyncDisposable & { port: number }> {
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
