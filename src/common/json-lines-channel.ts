import type { Duplex } from 'node:stream'
import type { z } from 'zod'
import { explain } from '../protocol/primitives.ts'
import { LIBRARY_LINE_MAX } from '../protocol/library.ts'
import { parseExactly } from '../protocol/json/exact-numbers.ts'

/** The peer sent something that is not a message of this protocol: it must not be trusted any further. */
export class JsonLinesError extends Error {
  override name = 'JsonLinesError'
}

/**
 * Messages as lines of JSON over a byte stream, both ways: how worker and library talk.
 *
 * A peer that dies is no error here: its messages end, and what is sent to it afterwards is dropped.
 */
export interface JsonLinesChannel<In, Out> {
  /**
   * What the peer sends, each message checked. May be iterated once. Nothing is read ahead of the consumer, so a slow
   * one slows the peer.
   *
   * @throws {JsonLinesError} on a line that is too long, is not JSON or does not fit the schema
   */
  messages: AsyncIterable<In>
  /** Sends one message. Resolves when the operating system has taken it: await it to go no faster than the peer reads. */
  send(message: Out): Promise<void>
  /** The same for a message that is JSON text already. */
  sendJson(json: string): Promise<void>
  /** Ends the stream to the peer, after what was sent. */
  close(): void
}

/** Opens a {@link JsonLinesChannel} over `stream`, checking what comes in against `incoming`. */
export function openJsonLinesChannel<In, Out>(
  stream: Duplex,
  incoming: z.ZodType<In>,
): JsonLinesChannel<In, Out> {
  // A broken connection also ends the messages, which is where it is noticed.
  stream.on('error', () => {})
  const sendJson = (json: string) =>
    new Promise<void>((resolve) => {
      stream.write(json + '\n', () => resolve())
    })
  return {
    messages: readMessages(stream, incoming),
    send: (message) => sendJson(JSON.stringify(message)),
    sendJson,
    close: () => void stream.end(),
  }
}

/** Length of a line worth sending at once, bytes: long enough to be cheap, short enough to be parsed in a moment. */
const LINE_TARGET = 1 << 20

/**
 * Cuts a list of JSON texts into stretches of at most `max` bytes, so that a message that carries a list keeps to the
 * length of a line. A single text that is longer stands alone.
 */
export function* chunkTexts(texts: readonly string[], max: number = LINE_TARGET): Generator<string[]> {
  let stretch: string[] = []
  let bytes = 0
  for (const text of texts) {
    const size = Buffer.byteLength(text) + 1
    if (bytes + size > max && stretch.length > 0) {
      yield stretch
      stretch = []
      bytes = 0
    }
    stretch.push(text)
    bytes += size
  }
  if (stretch.length > 0) yield stretch
}

async function* readMessages<In>(stream: Duplex, schema: z.ZodType<In>): AsyncGenerator<In, void, undefined> {
  for await (const line of readLines(stream)) yield parseMessage(line, schema)
}

function parseMessage<In>(line: string, schema: z.ZodType<In>): In {
  let json: unknown
  try {
    json = parseExactly(line)
  } catch {
    throw new JsonLinesError(`a line of ${line.length} characters is not JSON: ${line.slice(0, 80)}`)
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success)
    throw new JsonLinesError(`a message does not fit the protocol: ${explain(parsed.error)}`)
  return parsed.data
}

const NEWLINE = 0x0a

/** Lines as they are completed; what follows the last newline was cut off with the peer and is dropped. */
async function* readLines(stream: Duplex): AsyncGenerator<string, void, undefined> {
  let parts: Buffer[] = []
  let length = 0
  for await (const chunk of untilBroken(stream)) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      checkLength(length + end - start)
      parts.push(chunk.subarray(start, end))
      yield Buffer.concat(parts).toString('utf8')
      parts = []
      length = 0
      start = end + 1
    }
    if (start < chunk.length) {
      parts.push(chunk.subarray(start))
      length += chunk.length - start
      checkLength(length)
    }
  }
}

function checkLength(length: number): void {
  if (length > LIBRARY_LINE_MAX) {
    throw new JsonLinesError(`a line is longer than ${LIBRARY_LINE_MAX} bytes: send fewer calls at once`)
  }
}

/** The stream's chunks. A connection that breaks ends them just as one that is closed. */
async function* untilBroken(stream: Duplex): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) yield chunk as Buffer
  } catch {
    return
  }
}
