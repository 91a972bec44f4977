import { once } from 'node:events'
import { createServer, connect, type Socket } from 'node:net'
import { type Listening, listen } from './listen.ts'

export type SocksServer = Listening & {
  /** What was asked for, `HOST:PORT` each. */
  asked: string[]
}

/**
 * A SOCKS 5 proxy (RFC 1928, RFC 1929) to which every name is that of one server of this machine.
 * @param to the port of that server
 * @param login name and password that it takes; none if not given
 */
export async function startSocks(
  to: number,
  login?: { name: string; password: string },
): Promise<SocksServer> {
  const asked: string[] = []
  const serve = async (client: Socket) => {
    const [, methods = 0] = await readFirst(client, 2)
    const offered = await readFirst(client, methods)
    const method = login ? 2 : 0
    if (!offered.includes(method)) return void client.end(Buffer.from([5, 0xff]))
    client.write(Buffer.from([5, method]))
    if (login) {
      const word = async () => (await readFirst(client, (await readFirst(client, 1))[0]!)).toString()
      await readFirst(client, 1)
      const isRight = (await word()) === login.name && (await word()) === login.password
      client.write(Buffer.from([1, isRight ? 0 : 1]))
      if (!isRight) return void client.end()
    }
    const [, command, , kind] = await readFirst(client, 4)
    // A name, which the proxy is to look up.
    if (command !== 1 || kind !== 3) return void client.end(Buffer.from([5, 7, 0, 1, 0, 0, 0, 0, 0, 0]))
    const name = await readFirst(client, (await readFirst(client, 1))[0]!)
    asked.push(`${name.toString()}:${(await readFirst(client, 2)).readUInt16BE()}`)
    const server = connect(to, '127.0.0.1', () => {
      client.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]))
      server.pipe(client).pipe(server)
    })
    server.on('error', () => client.destroy())
    client.on('close', () => server.destroy())
  }
  const listening = await listen(createServer((client) => void serve(client).catch(() => client.destroy())))
  return Object.assign(listening, { asked })
}

/** The next bytes of a stream, so many of them. @throws if it ends before */
async function readFirst(stream: Socket, bytes: number): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0)
  for (;;) {
    const read = stream.read(bytes) as Buffer | null
    if (read?.length === bytes) return read
    if (stream.destroyed || stream.readableEnded) throw new Error('it has ended')
    await once(stream, 'readable')
  }
}
