import { type Dispatcher, errors } from 'undici'
import type { JsonValue } from '../../../protocol/common.ts'
import { limits } from '../../../protocol/common.ts'
import { parseExactly } from '../../../protocol/numbers.ts'
import type { ServerFunction } from '../../../protocol/context.ts'
import { render, renderText, within } from './render.ts'

/** The server did not give an answer that is one. */
export class ServerError extends Error {
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

/**
 * Makes one call: a request made of the input, and a value made of its answer.
 *
 * @throws {TemplateError} when input or answer lack what a template names, {@link ServerError}
 */
export async function ask(server: Dispatcher, how: ServerFunction, input: JsonValue): Promise<JsonValue> {
  const { method, body, result } = how
  const path = renderText(how.path, within(input), 'the input', encodeURIComponent)
  const what = `${method} ${path}`
  const sent =
    method === 'GET' ? undefined : body === undefined ? input : render(body, within(input), 'the input')
  const { statusCode, text } = await exchange(server, { method, path, what }, sent)
  if (statusCode < 200 || statusCode > 299) {
    const message = `${what} was answered with status ${statusCode}: ${text.slice(0, QUOTE)}`
    if (BUSY.includes(statusCode)) throw new BusyError(message)
    throw statusCode >= 500 ? new FailingServerError(message) : new ServerError(message)
  }
  const value = text === '' ? null : parse(text, what)
  return result === undefined ? value : render(result, within(value), `the answer to ${what}`)
}

async function exchange(
  server: Dispatcher,
  { method, path, what }: { method: ServerFunction['method']; path: string; what: string },
  sent: JsonValue | undefined,
): Promise<{ statusCode: number; text: string }> {
  try {
    const { statusCode, body } = await server.request({
      method,
      path,
      ...(sent !== undefined && {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(sent),
      }),
    })
    return { statusCode, text: await body.text() }
  } catch (error) {
    if (error instanceof errors.ResponseExceededMaxSizeError) {
      throw new ServerError(`the answer to ${what} is more than ${limits.value} bytes: ask for less`)
    }
    throw new ConnectionError(`${what} was not answered: ${(error as Error).message}`)
  }
}

function parse(text: string, what: string): JsonValue {
  try {
    return parseExactly(text) as JsonValue
  } catch {
    throw new ServerError(`the answer to ${what} is not JSON: ${text.slice(0, QUOTE)}`)
  }
}
