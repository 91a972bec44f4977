import { type Dispatcher, errors } from 'undici'
import type { Readable } from 'node:stream'
import { readLines } from '../../../common/read-lines.ts'
import { CancelledError, RefusedError } from '../../../common/task-errors.ts'
import type { JsonValue } from '../../../protocol/primitives.ts'
import { limits } from '../../../protocol/primitives.ts'
import { parseExactly } from '../../../protocol/json/exact-numbers.ts'
import type { ServerFunction } from '../../../protocol/contexts/context.ts'
import { render, renderText, within } from './request-template.ts'

/** The server did not give an answer that is one. */
export class ServerError extends Error {
  override name = 'ServerError'
}

/** What the server answered is not what it should be. */
class AnswerError extends ServerError {
  override name = 'ServerError'
}

/** The connection to the server broke, or could not be made: it may have ended. */
export class ConnectionError extends ServerError {
  override name = 'ConnectionError'
}

/** The server says itself that it failed: it may not be well. */
export class FailingServerError extends ServerError {
  override name = 'ServerError'
}

/** The server has too much to do, and says so: the same request may be answered later. */
export class BusyError extends FailingServerError {
  override name = 'BusyError'
}

/** Statuses by which servers turn requests away that they have no room for. */
const BUSY = [429, 503]

/** How much of an answer that is an error is told, characters. */
const QUOTE = 2_000

export interface Asking {
  /** Aborts when the answer is wanted no more. */
  signal: AbortSignal
  /** Hears of each event of an answer that is a stream of them, as it comes. */
  onEvent: (event: JsonValue) => void
  /** The span that the request is part of. */
  traceparent?: string | undefined
}

/**
 * Makes one call: a request made of the input, and a value made of its answer. Of an answer that is a stream of events
 * (`text/event-stream`), as servers give to `"stream": true`, the value is the list of them.
 *
 * @throws {CancelledError}, {TemplateError} when input or answer lack what a template names, {@link RefusedError} if the server
 * turns the request down, {@link ServerError}
 */
export async function ask(
  server: Dispatcher,
  how: ServerFunction,
  input: JsonValue,
  asking: Asking,
): Promise<JsonValue> {
  const { method, body, result } = how
  const path = renderText(how.path, within(input), 'the input', encodeURIComponent)
  const what = `${method} ${path}`
  const sent =
    method === 'GET' ? undefined : body === undefined ? input : render(body, within(input), 'the input')
  const answer = await exchange(server, { method, path, what }, sent, asking)
  if ('events' in answer)
    return result === undefined
      ? answer.events
      : render(result, within(answer.events), `the answer to ${what}`)
  const { statusCode, text } = answer
  if (statusCode < 200 || statusCode > 299) {
    const message = `${what} was answered with status ${statusCode}: ${text.slice(0, QUOTE)}`
    if (BUSY.includes(statusCode)) throw new BusyError(message)
    if (statusCode >= 500) throw new FailingServerError(message)
    if (statusCode < 400) throw new ServerError(message)
    throw new RefusedError(message, { status: statusCode, text: text.slice(0, QUOTE) })
  }
  const value = text === '' ? null : parse(text, what)
  return result === undefined ? value : render(result, within(value), `the answer to ${what}`)
}

async function exchange(
  server: Dispatcher,
  { method, path, what }: { method: ServerFunction['method']; path: string; what: string },
  sent: JsonValue | undefined,
  { signal, onEvent, traceparent }: Asking,
): Promise<{ statusCode: number; text: string } | { events: JsonValue[] }> {
  try {
    const { statusCode, headers, body } = await server.request({
      method,
      path,
      signal,
      headers: {
        ...(sent !== undefined && { 'content-type': 'application/json' }),
        ...(traceparent !== undefined && { traceparent }),
      },
      ...(sent !== undefined && { body: JSON.stringify(sent) }),
    })
    const isStream = statusCode === 200 && /^text\/event-stream\b/i.test(String(headers['content-type']))
    if (!isStream) return { statusCode, text: await body.text() }
    const events: JsonValue[] = []
    for await (const data of readEvents(body)) {
      const event = parse(data, what)
      events.push(event)
      onEvent(event)
    }
    return { events }
  } catch (error) {
    if (signal.aborted) throw new CancelledError('the call was cancelled while it ran')
    if (error instanceof AnswerError) throw error
    if (error instanceof errors.ResponseExceededMaxSizeError) {
      throw new ServerError(`the answer to ${what} is more than ${limits.value} bytes: ask for less`)
    }
    throw new ConnectionError(`${what} was not answered: ${(error as Error).message}`)
  }
}

/** What the events of a stream say, up to the one that says that it was the last. */
async function* readEvents(body: Readable): AsyncGenerator<string> {
  let data: string[] = []
  for await (const { bytes, ended } of readLines(body, limits.value)) {
    const line = bytes.toString('utf8').replace(/\r$/, '')
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
    if (line !== '' || !ended || data.length === 0) continue
    const text = data.join('\n')
    data = []
    if (text === '[DONE]') return
    yield text
  }
  if (data.length > 0 && data.join('\n') !== '[DONE]') throw new Error('its events broke off')
}

function parse(text: string, what: string): JsonValue {
  try {
    return parseExactly(text) as JsonValue
  } catch {
    throw new AnswerError(`the answer to ${what} is not JSON: ${text.slice(0, QUOTE)}`)
  }
}
