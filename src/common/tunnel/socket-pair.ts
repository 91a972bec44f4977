import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * Two sockets of this process that are connected to each other, and that no other process has an end of.
 * @param options whether one may end its way and still hear the other. Default: no
 */
export async function socketPair(options: { allowHalfOpen?: boolean } = {}): Promise<[Socket, Socket]> {
  const server = createServer({ ...options, pauseOnConnect: true })
  try {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const taken = Promise.withResolvers<Socket>()
    const near = connect({ ...options, port, host: '127.0.0.1' })
    const connected = once(near, 'connect')
    server.on('connection', (far) => {
      // Others of this machine may dial, too: only ours comes from the port that ours has.
      const look = () => (far.remotePort === near.localPort ? taken.resolve(far) : void far.destroy())
      connected.then(look, () => far.destroy())
    })
    await connected
    const far = await taken.promise
    for (const end of [near, far]) end.setNoDelay(true)
    return [near, far]
  } finally {
    server.close()
  }
}
