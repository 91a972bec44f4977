import { errors, Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { limits } from '../../protocol/primitives.ts'
import { pieceRoutes } from '../../protocol/routes/piece-routes.ts'
import { pathOf } from '../../protocol/routes/route.ts'
import type { FaultReason, Source } from '../../protocol/sources.ts'
import { openPieceChannel } from './piece-channel.ts'
import type { PieceChannel, ChannelRequest } from './piece-channel.ts'
import { errnoOf } from '../format/errors.ts'
import { haveRequest, piecesRequest } from './piece-requests.ts'
import { SourceError } from './piece-source.ts'
import type { PieceSource, PieceRequestOutcome } from './piece-source.ts'

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
  const channels = new Set<PieceChannel>()

  const takeIdle = (): PieceChannel | undefined => {
    for (const channel of channels) {
      if (channel.isIdle()) return channel
      if (!channel.isOpen()) channels.delete(channel)
    }
    return undefined
  }
  /** Asks over a channel that is open; over a new one, if that is being closed or its ticket has become too old. */
  const ask = async (make: () => ChannelRequest): Promise<void> => {
    const idle = takeIdle()
    if (idle) {
      const request = make()
      try {
        return await idle.request(request)
      } catch (error) {
        const why = blame(error)
        const mayBeStale = why instanceof SourceError && ['reset', 'refused'].includes(why.reason)
        if (!mayBeStale || request.isAnswered() || request.signal.aborted) throw error
      }
    }
    const request = make()
    const opening = { origin, path: below + pathOf(pieceRoutes.pieces, place), headers: headers() }
    const channel = await openPieceChannel(connected(), opening, request.signal)
    channels.add(channel)
    await channel.request(request)
  }
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
        ask(() => haveRequest(layout.pieces, onHeld, signal)),
      ),
    async take(take, options) {
      let outcome: PieceRequestOutcome = 'done'
      await blaming(
        options.signal,
        ask(() => piecesRequest(take, options, (came) => (outcome = came))),
      )
      return outcome
    },
    async close() {
      for (const channel of channels) channel.close()
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

/** What a failure says about the source. */
function blame(error: unknown): unknown {
  const reason = error instanceof SourceError ? undefined : reasonOf(error)
  if (reason === undefined) return error
  return new SourceError(reason, error instanceof Error ? error.message : String(error), { cause: error })
}

function reasonOf(error: unknown): FaultReason | undefined {
  if (error instanceof errors.ConnectTimeoutError) return 'unreachable'
  if (error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError)
    return 'stalled'
  if (error instanceof errors.HTTPParserError || error instanceof errors.ResponseContentLengthMismatchError) {
    return 'protocol'
  }
  if (error instanceof errors.UndiciError) return 'reset'
  const code = errnoOf(error)
  if (code === undefined) return undefined
  return ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(code) ? 'reset' : 'unreachable'
}
