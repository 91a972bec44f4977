import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A link between here and a far end, made in this process: each byte takes a while, and they come no faster than its rate. */
export interface WideLink extends AsyncDisposable {
  port: number
}

/**
 * @param to a port of this machine
 * @param delay one way, milliseconds
 * @param rate bytes/s, each way
 */
export async function wideLink(to: number, delay: number, rate: number): Promise<WideLink> {
  const sockets = new Set<Socket>()
  const carry = (from: Socket, other: Socket) => {
    sockets.add(from)
    let free = 0
    // One after the other: timers of different lengths do not go off in the order of their times.
    let before = Promise.resolve()
    const later = (work: () => void, due: number) => {
      before = before.then(async () => {
        const wait = due - performance.now()
        if (wait > 0) await sleep(wait)
        work()
      })
    }
    from.on('data', (bytes: Buffer) => {
      free = Math.max(free, performance.now()) + (bytes.length / rate) * 1000
      later(() => other.write(bytes), free + delay)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      later(() => other.destroy(), performance.now() + delay)
    })
  }
  const server = createServer((client) => {
    const behind = connect({ port: to, host: '127.0.0.1', noDelay: true })
    client.setNoDelay()
    carry(client, behind)
    carry(behind, client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
