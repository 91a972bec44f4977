import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { Client } from 'undici'
import { frameReader, wholeBody } from '../../../src/protocol/channels/frames.ts'
import { CHANNEL, FrameKind } from '../../../src/protocol/channels/piece-frames.ts'
import { listen, type Listening } from '../../support/listen.ts'

/** A source of the test's own: lets everybody open channels, and does with what is asked as it is told. */
export async function startSource(
  onAsked: (kind: number, first: number, second: number, socket: Duplex) => void,
): Promise<Listening> {
  const server = createServer((_request, response) => response.writeHead(404).end())
  server.on('upgrade', (_request, socket: Duplex) => {
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${CHANNEL}\r\n\r\n`)
    const reader = frameReader((kind, first, second) =>
      wholeBody(kind === FrameKind.ANY ? second : 0, () => onAsked(kind, first, second, socket)),
    )
    socket.on('data', (chunk: Buffer) => reader.push(chunk))
  })
  return await listen(server)
}

/** A connection over which a channel was opened, or was to be: `status` is 101 if it is open. */
export type Opened = Disposable & { status: number; body: string; socket: Duplex }

/** Opens a channel by hand. */
export async function openByHand(url: string, bundle: string, ticket: string): Promise<Opened> {
  const client = new Client(url)
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number
    body: string
    socket?: Duplex
  }>()
  let status = 0
  let body = ''
  client.dispatch(
    {
      method: 'GET',
      path: `/v1/pieces/${bundle}`,
      headers: { authorization: `Bearer ${ticket}` },
      upgrade: CHANNEL,
    },
    {
      onRequestStart: () => {},
      onRequestUpgrade: (_controller, status, _headers, socket) => resolve({ status, body, socket }),
      onResponseStart: (_controller, code) => void (status = code),
      onResponseData: (_controller, chunk) => void (body += chunk.toString()),
      onResponseEnd: () => resolve({ status, body }),
      onResponseError: (_controller, error) => reject(error),
    },
  )
  const { socket, ...answer } = await promise
  socket?.on('error', () => {})
  const close = () => {
    socket?.destroy()
    void client.destroy()
  }
  return { ...answer, socket: socket!, [Symbol.dispose]: close }
}

/** The next frame, with its bytes. */
export function nextFrame(
  socket: Duplex,
): Promise<{ kind: number; first: number; second: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const reader = frameReader((kind, first, second) =>
      wholeBody(second, (body) => {
        socket.off('data', take)
        resolve({ kind, first, second, body })
      }),
    )
    const take = (chunk: Buffer) => reader.push(chunk)
    socket.on('data', take)
    socket.once('close', () => reject(new Error('the channel is closed')))
  })
}
