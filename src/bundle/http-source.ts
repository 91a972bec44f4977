import { errors, Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { limits } from '../protocol/common.ts'
import { PIECES_HEADER } from '../protocol/sources.ts'
import type { FaultReason, Source } from '../protocol/sources.ts'
import { has } from './bitmap.ts'
import { cutPieces } from './cut.ts'
import { errnoOf } from './errors.ts'
import { exchange } from './exchange.ts'
import type { BodyReader, Flow } from './exchange.ts'
import { holdingsReader } from './holdings.ts'
import type { Layout } from './layout.ts'
import { SourceError } from './source.ts'
import type { PieceSource, Take, TakeOptions, TakeOutcome } from './source.ts'

/** A neighbour in the same cluster answers at once or not at all, milliseconds. */
const CONNECT_MS = 3_000
/** Longest wait for an answer to begin: a source that has too much to do says so sooner. Milliseconds. */
const ANSWER_MS = 8_000
/** Longest pause within an answer, milliseconds. */
const PAUSE_MS = 5_000
/** Largest error body that is kept, bytes. */
const ERROR_MAX = 4 << 10
/** Pieces of one answer that may be on their way to the disk before it is held back. */
const STORING_MAX = 4

/** Makes the connections to a source. */
export type Connect = (source: Source, options: Pool.Options) => Dispatcher

const connectDirectly: Connect = (source, options) => new Pool(new URL(source.url).origin, options)

/**
 * A source that is another process with the routes of `serve.ts`.
 *
 * @param ticket gives the newest ticket there is for it: a fetch may outlast one.
 */
export function httpSource(
  bundle: string,
  source: Source,
  connect: Connect = connectDirectly,
  ticket: () => string = () => source.ticket,
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
  const base = `${pathname === '/' ? '' : pathname}/v1/pieces/${bundle}`

  const ask = async (
    path: string,
    signal: AbortSignal,
    answer: Parameters<typeof exchange>[3],
    more: Partial<Dispatcher.DispatchOptions> = {},
  ): Promise<void> => {
    const headers = { authorization: `Bearer ${ticket()}`, 'content-type': 'application/octet-stream' }
    try {
      await exchange(
        connected(),
        { origin, method: 'GET', path: base + path, headers, ...more },
        signal,
        answer,
      )
    } catch (error) {
      throw signal.aborted ? error : blame(error)
    }
  }

  return {
    name: source.name,
    kind: source.kind,
    async manifest(signal) {
      let manifest: Buffer = Buffer.alloc(0)
      await ask('/manifest', signal, (status) =>
        status === 200 ? whole(limits.body, (data) => (manifest = data)) : refusal(status),
      )
      return manifest
    },
    follow: (layout, onHeld, signal) =>
      ask(
        '/holdings',
        signal,
        (status) => (status === 200 ? holdingsReader(layout.pieces, onHeld) : refusal(status)),
        { bodyTimeout: 0 },
      ),
    async take(take, options) {
      let outcome: TakeOutcome = 'done'
      await ask(
        pathOf(take),
        options.signal,
        (status, headers, flow) => {
          if (status === 200) return readRun(take, String(headers[PIECES_HEADER]), options, flow)
          if (status !== 503 && status !== 204) return refusal(status)
          outcome = status === 503 ? 'busy' : 'none'
          return ignored
        },
        'want' in take ? { method: 'POST', body: Buffer.from(take.want) } : {},
      )
      return outcome
    },
    close: async () => dispatcher?.destroy(),
  }
}

function pathOf(take: Take): string {
  return 'want' in take ? `?bytes=${take.bytes}` : `?first=${take.first}&count=${take.count}`
}

/** Reads the pieces of an answer; holds it back while they cannot be stored as fast as they come. */
function readRun(take: Take, header: string, options: TakeOptions, flow: Flow): BodyReader {
  const { layout, onRun, onPiece } = options
  const [, first, count] = /^(\d{1,9})-(\d{1,9})$/.exec(header) ?? []
  const run = { first: Number(first), count: Number(count) }
  if (!mayCome(take, run, layout))
    throw new SourceError('protocol', 'it sends pieces that were not asked for')
  onRun(run.first, run.count)

  const storing = new Set<Promise<void>>()
  const cutter = cutPieces(layout, run, (piece, parts) => {
    const stored = onPiece(piece, parts)
    storing.add(stored)
    if (storing.size === STORING_MAX) flow.pause()
    stored.then(
      () => {
        storing.delete(stored)
        if (storing.size === STORING_MAX - 1) flow.resume()
      },
      (error: unknown) => flow.fail(error),
    )
  })
  return {
    push: (chunk) => cutter.push(chunk),
    async end() {
      cutter.end()
      await Promise.all(storing)
    },
  }
}

/** Whether the run that a source announces is one that was asked for. */
function mayCome(take: Take, { first, count }: { first: number; count: number }, layout: Layout): boolean {
  if (!('want' in take)) return first === take.first && count === take.count
  if (!(first >= 0 && count > 0 && first + count <= layout.pieces)) return false
  for (let piece = first; piece < first + count; piece++) if (!has(take.want, piece)) return false
  return true
}

const ignored: BodyReader = { push: () => {}, end: () => {} }

function whole(most: number, onWhole: (data: Buffer) => void): BodyReader {
  const chunks: Buffer[] = []
  let bytes = 0
  return {
    push(chunk) {
      bytes += chunk.length
      if (bytes > most) throw new SourceError('protocol', `it sent more than ${most} bytes`)
      chunks.push(chunk)
    },
    end: () => onWhole(Buffer.concat(chunks)),
  }
}

function refusal(status: number): BodyReader {
  return whole(ERROR_MAX, (text) => {
    throw new SourceError('refused', `it answered ${status}: ${text.toString()}`.slice(0, 500))
  })
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
