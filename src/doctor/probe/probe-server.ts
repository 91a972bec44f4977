import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { parseJson } from '../../protocol/primitives.ts'
import { type ProbeAnswer, ProbeMessage } from '../../protocol/probe.ts'

/** Most bytes of one message. */
const MESSAGE_MAX = 256 << 10

/** What a probe has said, and when, by the doctor's clock. */
export interface Heard {
  message: ProbeMessage
  at: number
}

export interface ProbeServerOptions {
  listen: { host: string; port: number }
  /** The host name that pilots are told. */
  hostname: string
  tls: { cert: string; key: string } | undefined
  pilots: readonly string[]
  /** Archives that pilots boot from, by hash. */
  archives: readonly { path: string; sha256: string }[]
  /** Where the real manager is, if it runs and is to be tried as well. */
  manager: string | undefined
  onHeard: (heard: Heard) => void
}

/** Serves the probes of one site, as the manager serves workers: what they boot, and where they report. */
export interface ProbeServer extends AsyncDisposable {
  url: string
  tokens: { pilot: string; token: string }[]
}

/** @throws what the system says of the address */
export async function startProbeServer(options: ProbeServerOptions): Promise<ProbeServer> {
  const { listen, tls } = options
  const tokens = options.pilots.map((pilot) => ({ pilot, token: randomBytes(32).toString('base64url') }))
  const known = new Map(tokens.map(({ pilot, token }) => [pilot, digest(`Bearer ${token}`)]))
  /** Where each probe can be dialled. */
  const addresses = new Map<string, string>()
  const whoAsks = ({ headers }: IncomingMessage) => {
    const shown = digest(headers.authorization ?? '')
    return [...known].find(([, hash]) => timingSafeEqual(hash, shown))?.[0]
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pilot = whoAsks(request)
    if (pilot === undefined) return void response.writeHead(401).end()
    const archive = options.archives.find(({ sha256 }) => request.url === `/v1/runtime/${sha256}`)
    if (request.method === 'GET' && archive) return await pipeline(createReadStream(archive.path), response)
    if (request.method !== 'POST' || request.url !== '/v1/probe') return void response.writeHead(404).end()
    const parsed = ProbeMessage.safeParse(parseJson(await readText(request)))
    if (!parsed.success || parsed.data.pilot !== pilot) return void response.writeHead(400).end()
    const message = parsed.data
    if (message.kind === 'report') addresses.set(pilot, `${bare(request)}:${message.port}`)
    options.onHeard({ message, at: Date.now() })
    const peers = [...addresses].flatMap(([other, address]) => (other === pilot ? [] : [address]))
    const said: ProbeAnswer = {
      clock: Date.now(),
      ...(options.manager !== undefined && { manager: options.manager }),
      peers,
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said))
  }

  const listener = (request: IncomingMessage, response: ServerResponse) =>
    void answer(request, response).catch(() => response.destroy())
  const server = tls ? createHttpsServer(tls, listener) : createHttpServer(listener)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(listen, resolve)
  })
  const { port } = server.address() as AddressInfo
  const host = options.hostname.includes(':') ? `[${options.hostname}]` : options.hostname
  return {
    url: `${tls ? 'https' : 'http'}://${host}:${port}`,
    tokens,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const digest = (text: string) => createHash('sha256').update(text).digest()

/** The address from which a request came. */
const bare = ({ socket }: IncomingMessage) => (socket.remoteAddress ?? '').replace(/^::ffff:/, '')

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MESSAGE_MAX) throw new Error('too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
