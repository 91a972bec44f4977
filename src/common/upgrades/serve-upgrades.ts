import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { ApiErrorBody } from '../../protocol/primitives.ts'

/** Looks at a request to upgrade. It calls {@link accept} or {@link turnAway}; what it throws ends the connection. */
export type Admit = (request: IncomingMessage, socket: Socket) => Promise<void>

type Upgrades = { admit: Map<string, Admit>; open: Set<Duplex>; closing: boolean }

const upgradesOf = new WeakMap<object, Upgrades>()

/**
 * Lets connections of a scope's server become what `protocol` names (`upgrade: PROTOCOL`). A server may have several, each asked
 * about its own. They end when the server closes.
 */
export function serveUpgrades(scope: FastifyInstance, protocol: string, admit: Admit): void {
  const upgrades = upgradesOf.get(scope.server) ?? listenFor(scope)
  upgrades.admit.set(protocol, admit)
}

function listenFor(scope: FastifyInstance): Upgrades {
  const upgrades: Upgrades = { admit: new Map(), open: new Set(), closing: false }
  upgradesOf.set(scope.server, upgrades)
  // A request for another protocol is answered as if it had asked for none; but before Node 24.9, that it is unknown.
  Object.assign(scope.server, {
    shouldUpgradeCallback: ({ headers }: IncomingMessage) => upgrades.admit.has(headers.upgrade ?? ''),
  })
  const server: Server = scope.server
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    if (upgrades.closing) return void socket.destroy()
    upgrades.open.add(socket)
    socket.once('close', () => upgrades.open.delete(socket))
    if (head.length > 0) socket.unshift(head)
    const admit = upgrades.admit.get(request.headers.upgrade ?? '')
    if (!admit)
      return turnAway(socket, '404 Not Found', {
        code: 'GLEANER_NOT_FOUND',
        message: 'there is no such channel',
      })
    // An HTTP server's connections are sockets.
    admit(request, socket as Socket).catch((error: unknown) => {
      scope.log.error({ err: error }, 'opening a channel failed')
      socket.destroy()
    })
  })
  scope.addHook('preClose', (done) => {
    upgrades.closing = true
    for (const socket of upgrades.open) socket.destroy()
    done()
  })
  return upgrades
}

/** From here on the connection is what was asked for. */
export function accept(socket: Duplex, protocol: string): void {
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${protocol}\r\n\r\n`)
}

/** Answers as a route would that refuses. */
export function turnAway(socket: Duplex, status: string, error: ApiErrorBody['error']): void {
  const body = JSON.stringify({ error } satisfies ApiErrorBody)
  const head = `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`
  // Who does not close its side would keep the connection: nothing else looks after it any more.
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy())
}
