import { once } from 'node:events'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'

/** Two ends of one real connection. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const near = createConnection((server.address() as AddressInfo).port, '127.0.0.1')
  await once(near, 'connect')
  const [far] = await accepted
  server.close()
  return [near, far]
}
