import { createPublicKey } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import type { Logger } from 'pino'
import { bareHost } from '../../common/plain/bare-host.ts'
import { servePieces } from '../../bundle/upload/piece-routes.ts'
import { makePieceServer } from '../../bundle/upload/piece-server.ts'
import type { Store } from '../../bundle/store/store.ts'
import { TicketChecker } from '../../bundle/format/ticket.ts'

/** Serves the pieces this worker holds to workers nearby. */
export interface PieceServer extends AsyncDisposable {
  url: string
  /**
   * From here on, lets in who shows a ticket signed with this Ed25519 key (SPKI, base64). Before that, no request is let in.
   *
   * @param clock what the manager's clock shows: tickets end by it
   */
  trust(ticketKey: string, clock: number): void
}

/** @param origin where the manager is: peers are looked for on the same network */
export async function startPieceServer(store: Store, origin: string, log: Logger): Promise<PieceServer> {
  let tickets: TicketChecker | undefined
  let ahead = 0
  const server = makePieceServer(log)
  await server.register(servePieces, {
    store,
    authorise: (ticket, bundle) => tickets?.isGood(ticket, bundle, Date.now() + ahead) ?? false,
  })
  const url = await server.listen({ host: await addressTowards(origin), port: 0 })
  return {
    url,
    trust(ticketKey, clock) {
      ahead = clock - Date.now()
      const key = createPublicKey({ key: Buffer.from(ticketKey, 'base64'), format: 'der', type: 'spki' })
      tickets = new TicketChecker(key)
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

/** This node's own address on the way to a host. Asks the routing table; nothing is sent. */
export async function addressTowards(origin: string): Promise<string> {
  const { hostname, port, protocol } = new URL(origin)
  const { address, family } = await lookup(bareHost(hostname))
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
  try {
    socket.connect(Number(port) || (protocol === 'https:' ? 443 : 80), address)
    await once(socket, 'connect')
    return socket.address().address
  } finally {
    socket.close()
  }
}
