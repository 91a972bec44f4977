import { randomUUID } from 'node:crypto'
import { Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { limits } from '../../protocol/primitives.ts'
import { FETCH_HEADER } from '../../protocol/channels/piece-frames.ts'
import { pieceRoutes } from '../../protocol/routes/piece-routes.ts'
import { pathOf } from '../../protocol/routes/route.ts'
import type { Source } from '../../protocol/piece-sources.ts'
import { ChannelPool } from './channel-pool.ts'
import { openPieceChannel } from './piece-channel.ts'
import { haveRequest, piecesRequest } from './piece-request-codec.ts'
import { SourceError } from './piece-source.ts'
import type { PieceSource, PieceRequestOutcome } from './piece-source.ts'
import { blame } from './source-failure.ts'

/** A peer in the same cluster answers at once or not at all, milliseconds. */
const CONNECT_MS = 3_000
/** Longest wait for a manifest, or for a channel to open, milliseconds. */
const ANSWER_MS = 8_000
/** Longest pause within a manifest, milliseconds. */
const PAUSE_MS = 5_000
/** Longest error body that is kept, characters. */
const ERROR_MAX = 400

/** Makes the connections to a source. */
export type Connect = (source: Source, options: Pool.Options) => Dispatcher

const connectDirectly: Connect = (source, options) => new Pool(new URL(source.url).origin, options)

/**
 * A source that is another process with the routes of `piece-routes.ts`.
 *
 * @param ticket gives the newest ticket there is for it: a fetch may outlast one.
 */
export function httpSource(
  bundle: string,
  source: Source,
  connect: Connect = connectDirectly,
  ticket = () => source.ticket,
): PieceSource {
  let dispatcher: Dispatcher | undefined
  // Most sources that a manager names are known already, and never asked for anything.
  const connected = () =>
    (dispatcher ??= connect(source, {
      connectTimeout: CONNECT_MS,
      headersTimeout: ANSWER_MS,
      bodyTimeout: PAUSE_MS,
    }))
  const { origin, pathname } = new URL(source.url)
  const below = pathname === '/' ? '' : pathname
  const place = { params: { bundle } }
  const headers = () => ({ authorization: `Bearer ${ticket()}` })
  const fetch = randomUUID()
  const channels = new ChannelPool((signal) => {
    const path = below + pathOf(pieceRoutes.pieces, place)
    return openPieceChannel(
      connected(),
      { origin, path, headers: { ...headers(), [FETCH_HEADER]: fetch } },
      signal,
    )
  })
  const getManifest = async (signal: AbortSignal): Promise<Buffer> => {
    const path = below + pathOf(pieceRoutes.manifest, place)
    const request = { origin, path, method: 'GET', headers: headers(), signal } as const
    const { statusCode, body } = await connected().request(request)
    const text = await whole(body)
    if (statusCode === 200) return text
    throw new SourceError('refused', `it answered ${statusCode}: ${text.toString().slice(0, ERROR_MAX)}`)
  }
  const blaming = async <T>(signal: AbortSignal, work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      throw signal.aborted ? error : blame(error)
    }
  }

  return {
    name: source.name,
    kind: source.seeds && source.kind === 'peer' ? 'relay' : source.kind,
    manifest: (signal) => blaming(signal, getManifest(signal)),
    follow: (layout, onHeld, signal) =>
      blaming(
        signal,
        channels.ask(() => haveRequest(layout.pieces, onHeld, signal)),
      ),
    async take(take, options) {
      let outcome: PieceRequestOutcome = 'done'
      await blaming(
        options.signal,
        channels.ask(() => piecesRequest(take, options, (came) => (outcome = came))),
      )
      return outcome
    },
    async close() {
      channels.close()
      await dispatcher?.destroy()
    },
  }
}

async function whole(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > limits.body) throw new SourceError('protocol', `it sent more than ${limits.body} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
