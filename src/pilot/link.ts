import { X509Certificate } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { checkServerIdentity } from 'node:tls'
import type { Logger } from 'pino'
import { Agent, type buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool, request } from 'undici'
import type { z } from 'zod'
import type { Connect } from '../bundle/http-source.ts'
import { ApiErrorBody, explain, limits } from '../protocol/common.ts'
import { PilotError } from './errors.ts'

/** One request to the manager. */
export interface Call<Answer extends z.ZodType> {
  method: 'GET' | 'POST'
  path: string
  /** JSON text; sent unchanged each time, so that a repeated request is the very same. */
  body?: string
  /** What the answer must look like. */
  answer: Answer
  /** How long the manager may take besides what an answer needs, milliseconds. */
  waitMs?: number
  /** A conflict is final here. Else it means that the request was overtaken by another one or by a restart. */
  conflictIsFinal?: boolean
  signal?: AbortSignal | undefined
}

/** The way to the manager. */
export interface Link {
  /**
   * Sends a request, again and again while the manager cannot be reached or is not well.
   *
   * @throws PilotError `refused`, `protocol`, or `unreachable` when patience is at its end; the signal's reason if aborted
   */
  call<Answer extends z.ZodType>(call: Call<Answer>): Promise<z.output<Answer>>
  /** Says who asks, from here on. */
  authorise(secret: string): void
  /** Makes connections to sources of pieces: to the manager as here, to neighbours directly. */
  readonly connect: Connect
  /** Where the manager was last reached. */
  readonly origin: string
  close(): Promise<void>
}

export interface LinkOptions {
  /** Addresses of one manager, tried in order. */
  origins: readonly [string, ...string[]]
  /** The manager's certificate, PEM: no other is trusted, whatever name it was reached by. */
  certificate?: string | undefined
  /** How long to keep trying while the manager cannot be reached, milliseconds. */
  patienceMs: number
  log: Logger
}

/** Time an answer needs, milliseconds. */
const ANSWER_MS = 10_000
/** The manager watches the connection: its end is taken for the worker's. */
const KEEP_ALIVE_MS = 600_000
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5_000

/** Answers besides 5xx that will pass: too slow, too many. */
const PASSING = [408, 429]
const CONFLICT = 409
const REFUSED = [401, 403, 404, CONFLICT, 410]

/** Something that will pass: no connection, a restart, overload. */
class Passing extends Error {}

export function createLink({ origins, certificate, patienceMs, log }: LinkOptions): Link {
  const dispatcher = createDispatcher(certificate, { connections: 4, keepAliveTimeout: KEEP_ALIVE_MS })
  let current = 0
  let secret = ''
  const origin = () => origins[current % origins.length]!

  async function once<Answer extends z.ZodType>(call: Call<Answer>): Promise<z.output<Answer>> {
    const { statusCode, text } = await send(dispatcher, origin(), secret, call)
    if (statusCode < 200 || statusCode > 299) throw refusal(call, statusCode, text)
    const parsed = call.answer.safeParse(parseJson(text))
    if (parsed.success) return parsed.data
    throw new PilotError('protocol', `the answer to ${call.path} is not understood: ${explain(parsed.error)}`)
  }

  return {
    async call(call) {
      const givenUpAt = performance.now() + patienceMs
      for (let attempt = 0; ; attempt++) {
        try {
          return await once(call)
        } catch (error) {
          call.signal?.throwIfAborted()
          if (!(error instanceof Passing)) throw error
          if (performance.now() >= givenUpAt)
            throw new PilotError('unreachable', error.message, { cause: error })
          log.warn({ attempt, reason: error.message }, 'will ask the manager again')
          current++
        }
        await delay(backOff(attempt), undefined, { signal: call.signal }).catch(() => {})
        call.signal?.throwIfAborted()
      }
    },
    authorise(bearer) {
      secret = bearer
    },
    connect: ({ kind, url }, options) =>
      kind === 'manager' ? createDispatcher(certificate, options) : new Pool(new URL(url).origin, options),
    get origin() {
      return origin()
    },
    close: () => dispatcher.destroy(),
  }
}

/** Doubles, and spreads out workers that lost the same manager at the same moment. */
function backOff(attempt: number): number {
  return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt) * (0.5 + Math.random() / 2)
}

async function send(dispatcher: Dispatcher, origin: string, secret: string, call: Call<z.ZodType>) {
  const patienceMs = (call.waitMs ?? 0) + ANSWER_MS
  try {
    const response = await request(new URL(call.path, origin), {
      dispatcher,
      method: call.method,
      headers: {
        authorization: `Bearer ${secret}`,
        ...(call.body !== undefined && { 'content-type': 'application/json' }),
      },
      body: call.body ?? null,
      signal: call.signal ?? null,
      headersTimeout: patienceMs,
      bodyTimeout: ANSWER_MS,
    })
    return { statusCode: response.statusCode, text: await response.body.text() }
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException
    throw new Passing(`the manager at ${origin} cannot be reached: ${message || code}`, { cause: error })
  }
}

function refusal(call: Call<z.ZodType>, status: number, text: string): Error {
  const parsed = ApiErrorBody.safeParse(parseJson(text))
  const message = parsed.success
    ? parsed.data.error.message
    : `${call.path} was answered with status ${status}`
  const conflict = status === CONFLICT && !call.conflictIsFinal
  if (status >= 500 || PASSING.includes(status) || conflict) return new Passing(message)
  return new PilotError(REFUSED.includes(status) ? 'refused' : 'protocol', message)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function createDispatcher(certificate: string | undefined, given: Pool.Options): Dispatcher {
  const connect = { timeout: ANSWER_MS, ...(certificate !== undefined && trustOnly(certificate)) }
  const options = { maxResponseSize: limits.body, ...given, connect }
  const proxied = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].some((name) => process.env[name])
  return proxied ? new EnvHttpProxyAgent({ ...options, requestTls: connect }) : new Agent(options)
}

function trustOnly(certificate: string): buildConnector.BuildOptions {
  const pinned = new X509Certificate(certificate).fingerprint256
  return {
    ca: certificate,
    // The very certificate is enough: a submit node goes by many names.
    checkServerIdentity: (host, peer) =>
      peer.fingerprint256 === pinned ? undefined : checkServerIdentity(host, peer),
  }
}
