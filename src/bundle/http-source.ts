import { errors, Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { limits } from '../protocol/common.ts'
import { PIECES_HEADER } from '../protocol/sources.ts'
import type { FaultReason, Source } from '../protocol/sources.ts'
import { has, isBitmap } from './bitmap.ts'
import { errnoOf } from './errors.ts'
import type { Layout } from './layout.ts'
import { SourceError } from './source.ts'
import type { PieceSource, Take } from './source.ts'

/** A neighbour in the same cluster answers at once or not at all, milliseconds. */
const CONNECT_MS = 3_000
/** Longest wait for an answer to begin: a source that has too much to do says so sooner. Milliseconds. */
const ANSWER_MS = 8_000
/** Longest pause within an answer, milliseconds. */
const PAUSE_MS = 5_000
/** Largest error body that is read, bytes. */
const ERROR_MAX = 16 << 10

/** Makes the connections to a source; a pool without limits of its own by default. */
export type Connect = (source: Source, options: Pool.Options) => Dispatcher

const connectDirectly: Connect = (source, options) => new Pool(new URL(source.url).origin, options)

/** A source that is another process with the routes of `serve.ts`. */
export function httpSource(bundle: string, source: Source, connect: Connect = connectDirectly): PieceSource {
  const dispatcher = connect(source, {
    connectTimeout: CONNECT_MS,
    headersTimeout: ANSWER_MS,
    bodyTimeout: PAUSE_MS,
  })
  const { origin, pathname } = new URL(source.url)
  const base = `${pathname === '/' ? '' : pathname}/v1/pieces/${bundle}`

  const ask = async (path: string, signal: AbortSignal, more: Partial<Dispatcher.RequestOptions> = {}) => {
    try {
      const headers = {
        authorization: `Bearer ${source.ticket}`,
        ...(more.headers as Record<string, string>),
      }
      return await dispatcher.request({ origin, method: 'GET', path: base + path, signal, ...more, headers })
    } catch (error) {
      throw blame(error, signal)
    }
  }
  const refused = async (response: Dispatcher.ResponseData, signal: AbortSignal): Promise<SourceError> => {
    const text = await readAll(response, ERROR_MAX, signal).catch(() => Buffer.alloc(0))
    return new SourceError('refused', `it answered ${response.statusCode}: ${text.toString()}`.slice(0, 500))
  }

  return {
    name: source.name,
    kind: source.kind,
    async manifest(signal) {
      const response = await ask('/manifest', signal)
      if (response.statusCode !== 200) throw await refused(response, signal)
      return readAll(response, limits.body, signal)
    },
    async follow(layout, onHeld, signal) {
      const response = await ask('/holdings', signal, { bodyTimeout: 0 })
      if (response.statusCode !== 200) throw await refused(response, signal)
      try {
        await readHoldings(response.body, layout, onHeld)
      } catch (error) {
        throw blame(error, signal)
      }
    },
    async take(take, { layout, signal, onRun, onPiece }) {
      const response = await ask(pathOf(take), signal, bodyOf(take))
      if (response.statusCode !== 200) {
        const error = await refused(response, signal)
        if (response.statusCode === 503) return 'busy'
        if (response.statusCode === 204) return 'none'
        throw error
      }
      const [, first, count] = /^(\d{1,9})-(\d{1,9})$/.exec(String(response.headers[PIECES_HEADER])) ?? []
      const run = { first: Number(first), count: Number(count) }
      if (!mayCome(take, run, layout)) {
        response.body.destroy()
        throw new SourceError('protocol', 'it sent pieces that were not asked for')
      }
      onRun(run.first, run.count)
      try {
        await readPieces(response.body, run, layout, onPiece)
      } catch (error) {
        response.body.destroy()
        throw blame(error, signal)
      }
      return 'done'
    },
    close: () => dispatcher.destroy(),
  }
}

function pathOf(take: Take): string {
  return 'want' in take ? `?bytes=${take.bytes}` : `?first=${take.first}&count=${take.count}`
}

function bodyOf(take: Take): Partial<Dispatcher.RequestOptions> {
  if (!('want' in take)) return {}
  return { method: 'POST', body: take.want, headers: { 'content-type': 'application/octet-stream' } }
}

/** Whether the run that a source announces is one that was asked for. */
function mayCome(take: Take, { first, count }: { first: number; count: number }, layout: Layout): boolean {
  if (!('want' in take)) return first === take.first && count === take.count
  if (!(first >= 0 && count > 0 && first + count <= layout.pieces)) return false
  for (let piece = first; piece < first + count; piece++) if (!has(take.want, piece)) return false
  return true
}

async function readPieces(
  body: AsyncIterable<Buffer>,
  run: { first: number; count: number },
  layout: Layout,
  onPiece: (piece: number, parts: Buffer[]) => Promise<void>,
): Promise<void> {
  let piece = run.first
  let parts: Buffer[] = []
  let missing = layout.place(piece).length
  for await (const chunk of body) {
    for (let rest = chunk; rest.length > 0;) {
      if (piece === run.first + run.count) throw new SourceError('protocol', 'it sent more than it announced')
      const part = rest.subarray(0, missing)
      rest = rest.subarray(part.length)
      parts.push(part)
      missing -= part.length
      if (missing > 0) continue
      await onPiece(piece, parts)
      piece++
      parts = []
      missing = piece < run.first + run.count ? layout.place(piece).length : 0
    }
  }
  if (piece !== run.first + run.count) throw new SourceError('protocol', 'it sent less than it announced')
}

async function readHoldings(
  body: AsyncIterable<Buffer>,
  layout: Layout,
  onHeld: (pieces: number[] | 'all') => void,
): Promise<void> {
  const mapBytes = Math.ceil(layout.pieces / 8)
  let begun = false
  let told = 0
  let pending: Buffer = Buffer.alloc(0)
  for await (const chunk of body) {
    pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    if (!begun) {
      if (pending.length < 4 + mapBytes) continue
      const map = pending.subarray(4, 4 + mapBytes)
      if (pending.readUInt32LE() !== layout.pieces || !isBitmap(map, layout.pieces)) {
        throw new SourceError('protocol', 'it describes another bundle')
      }
      begun = true
      pending = pending.subarray(4 + mapBytes)
      const held = Array.from({ length: layout.pieces }, (_, piece) => piece).filter((piece) =>
        has(map, piece),
      )
      onHeld(held.length === layout.pieces ? 'all' : held)
      told += held.length
    }
    const news: number[] = []
    for (; pending.length >= 4; pending = pending.subarray(4)) {
      const piece = pending.readUInt32LE()
      if (piece >= layout.pieces) throw new SourceError('protocol', 'it tells of pieces that do not exist')
      news.push(piece)
    }
    if (news.length > 0) onHeld(news)
    told += news.length
  }
  if (told < layout.pieces) throw new SourceError('reset', 'it stopped telling what it holds')
}

async function readAll(
  response: Dispatcher.ResponseData,
  most: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > most) throw new SourceError('protocol', `it sent more than ${most} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    response.body.destroy()
    throw blame(error, signal)
  }
  return Buffer.concat(chunks)
}

/** What a failure says about the source. Our own abort says nothing about it. */
function blame(error: unknown, signal: AbortSignal): unknown {
  if (error instanceof SourceError || signal.aborted) return error
  const reason = reasonOf(error)
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
