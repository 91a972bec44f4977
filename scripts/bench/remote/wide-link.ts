import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A link between here and a far end, made in this process: each byte takes a while, and all together come no faster than its rate. */
export interface WideLink extends AsyncDisposable {
  port: number
  /** Bytes that went to the far end, and that came from there. */
  readonly carried: Readonly<{ out: number; back: number }>
}

type Address = { host: string; port: number }

/**
 * @param to what is at the far end
 * @param delay one way, milliseconds
 * @param rate bytes/s, each way
 * @param at where it is dialled
 */
export async function wideLink(
  to: Address,
  delay: number,
  rate: number,
  at: Address = { host: '127.0.0.1', port: 0 },
): Promise<WideLink> {
  const sockets = new Set<Socket>()
  const carried = { out: 0, back: 0 }
  const free = { out: 0, back: 0 }
  const carry = (from: Socket, other: Socket, way: 'out' | 'back') => {
    sockets.add(from)
    // One after the other: timers of different lengths do not go off in the order of their times.
    let before = Promise.resolve()
    const later = (work: () => void, due: number) => {
      before = before.then(async () => {
        const wait = due - performance.now()
        if (wait > 0) await sleep(wait)
        work()
      })
    }
    let waiting = 0
    from.on('data', (bytes: Buffer) => {
      carried[way] += bytes.length
      free[way] = Math.max(free[way], performance.now()) + (bytes.length / rate) * 1000
      // What TCP would not have sent yet.
      waiting += bytes.length
      if (waiting > WINDOW) from.pause()
      later(() => {
        waiting -= bytes.length
        if (waiting <= WINDOW) from.resume()
        other.write(bytes)
      }, free[way] + delay)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      later(() => other.destroy(), performance.now() + delay)
    })
  }
  const server = createServer((client) => {
    const behind = connect({ ...to, noDelay: true })
    client.setNoDelay()
    carry(client, behind, 'out')
    carry(behind, client, 'back')
  })
  server.listen(at.port, at.host)
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    carried,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Most bytes of one connection that are on their way: those of 100 ms at 100 Mbit/s, and some. */
const WINDOW = 2 << 20
