import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** Stands between a client and a server on this machine, and breaks what goes through it. */
export interface CuttingProxy extends AsyncDisposable {
  port: number
  /** Bytes that went through, both ways together. */
  readonly passed: number
  /** Breaks all connections once this many more bytes have gone through, and lets those after them be. */
  cutAfter(bytes: number): void
  cut(): void
}

/** @param at where it is dialled */
export async function cuttingProxy(to: number, at = '127.0.0.1'): Promise<CuttingProxy> {
  const sockets = new Set<Socket>()
  let passed = 0
  let cutAt = Infinity
  const cut = () => {
    cutAt = Infinity
    for (const socket of sockets) socket.destroy()
  }
  const join = (from: Socket, other: Socket) => {
    sockets.add(from)
    from.on('data', (bytes: Buffer) => {
      passed += bytes.length
      if (passed >= cutAt) cut()
      else other.write(bytes)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      other.destroy()
    })
  }
  const server = createServer((client) => {
    const behind = connect(to, '127.0.0.1')
    join(client, behind)
    join(behind, client)
  })
  server.listen(0, at)
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    get passed() {
      return passed
    },
    cutAfter: (bytes) => void (cutAt = passed + bytes),
    cut,
    async [Symbol.asyncDispose]() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
