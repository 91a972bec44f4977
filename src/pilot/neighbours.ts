import { createPublicKey } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import Fastify from 'fastify'
import type { Logger } from 'pino'
import { servePieces } from '../bundle/serve.ts'
import type { Store } from '../bundle/store.ts'
import { checkTicket } from '../bundle/ticket.ts'

/** Serves the pieces this worker holds to workers nearby. */
export interface PieceServer extends AsyncDisposable {
  url: string
  /** From here on, lets in who shows a ticket signed with this Ed25519 key (SPKI, base64). Nobody before. */
  trust(ticketKey: string): void
}

/** @param origin where the manager is: neighbours are looked for on the same network */
export async function startPieceServer(store: Store, origin: string, log: Logger): Promise<PieceServer> {
  let key: ReturnType<typeof createPublicKey> | undefined
  const server = Fastify({
    loggerInstance: log.child({}, { level: 'warn' }),
    disableRequestLogging: true,
    forceCloseConnections: true,
  })
  await server.register(servePieces, {
    store,
    authorise: (ticket, bundle) => key !== undefined && checkTicket(key, ticket, bundle, Date.now()),
  })
  const url = await server.listen({ host: await addressTowards(origin), port: 0 })
  return {
    url,
    trust(ticketKey) {
      key = createPublicKey({ key: Buffer.from(ticketKey, 'base64'), format: 'der', type: 'spki' })
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

/** This node's own address on the way to a host. Asks the routing table; nothing is sent. */
export async function addressTowards(origin: string): Promise<string> {
  const { hostname, port, protocol } = new URL(origin)
  const { address, family } = await lookup(hostname.replace(/^\[|\]$/g, ''))
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
  try {
    socket.connect(Number(port) || (protocol === 'https:' ? 443 : 80), address)
    await once(socket, 'connect')
    return socket.address().address
  } finally {
    socket.close()
  }
}
