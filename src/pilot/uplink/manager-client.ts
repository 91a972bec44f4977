import { setTimeout as delay } from 'node:timers/promises'
import type { Duplex, Readable } from 'node:stream'
import type { Logger } from 'pino'
import { type Dispatcher, Pool, request } from 'undici'
import type { z } from 'zod'
import type { Connect } from '../../bundle/sources/http-source.ts'
import { requestUpgrade } from '../../common/upgrades/request-upgrade.ts'
import { textOf } from '../../protocol/json/json-text.ts'
import { ApiErrorBody, explain, limits, parseJson } from '../../protocol/primitives.ts'
import { type Asked, type JsonRoute, pathOf, type Place, type Route } from '../../protocol/routes/route.ts'
import { parseExactly } from '../../protocol/json/exact-numbers.ts'
import { PilotError } from '../exit-codes.ts'
import { createManagerConnections } from './manager-connections.ts'

export interface CallSettings {
  /** How long the manager may take besides what an answer needs, milliseconds. */
  waitMs?: number | undefined
  /** A conflict is final here. Else it means that the request was overtaken by another one or by a restart. */
  conflictIsFinal?: boolean | undefined
  signal?: AbortSignal | undefined
}

/** The way to the manager. */
export interface ManagerClient {
  /**
   * Asks a route, again and again while the manager cannot be reached or is not well: the very same each time.
   *
   * @throws PilotError `refused`, `protocol`, or `unreachable` when patience is at its end; the signal's reason if aborted
   */
  call<R extends JsonRoute>(route: R, asked: Asked<R> & CallSettings): Promise<z.output<R['answer']>>
  /**
   * Hands the bytes of an answer to `take`, from their start again when the connection breaks.
   *
   * @throws as `call` does, and what `take` throws
   */
  get<R extends Route>(route: R, place: Place<R>, take: (bytes: Readable) => Promise<void>): Promise<void>
  /** Sends so many bytes, which `open` reads from their start. @throws as `call` does */
  put<R extends Route>(route: R, place: Place<R>, bytes: number, open: () => Readable): Promise<void>
  /** Has a connection of its own become what `protocol` names. One attempt. @throws UpgradeRefused, or what breaks it */
  upgrade<R extends Route>(route: R, place: Place<R>, protocol: string): Promise<Duplex>
  /** Says who asks, from here on. */
  authorise(secret: string): void
  /** Makes connections to sources of pieces: to the manager as here, to peers directly. */
  readonly connect: Connect
  /** Where the manager was last reached. */
  readonly origin: string
  close(): Promise<void>
}

export interface ManagerClientOptions {
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
/** Connections at once that become something else, each for as long as it lasts. */
const UPGRADES_MOST = 100
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5_000

/** Answers besides 5xx that will pass: too slow, too many. */
const PASSING = [408, 429]
const CONFLICT = 409
const NO_ROOM = 507
const REFUSED = [401, 403, 404, CONFLICT, 410]

/** Something that will pass: no connection, a restart, overload. */
class Passing extends Error {}

export function createManagerClient({
  origins,
  certificate,
  patienceMs,
  log,
}: ManagerClientOptions): ManagerClient {
  const dispatch = (options: Parameters<typeof createManagerConnections>[1]) =>
    createManagerConnections(
      { origins, certificate, timeout: ANSWER_MS },
      { maxResponseSize: limits.body, ...options },
    )
  const dispatcher = dispatch({ connections: 4, keepAliveTimeout: KEEP_ALIVE_MS })
  // Connections of their own: if one breaks, that is not for the worker's end.
  const carrier = dispatch({ connections: 4, maxResponseSize: limits.blob })
  // A proxy that forwards requests would not let them become channels.
  const upgrader = dispatch({ connections: UPGRADES_MOST, proxyTunnel: true })
  let current = 0
  let secret = ''
  const origin = () => origins[current % origins.length]!

  async function once<R extends JsonRoute>(route: R, sent: Sent): Promise<z.output<R['answer']>> {
    const text = await send({ dispatcher, origin: origin(), secret }, sent, (body) => body.text())
    return understand(route, sent.path, text)
  }

  async function patiently<T>(once: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const givenUpAt = performance.now() + patienceMs
    for (let attempt = 0; ; attempt++) {
      try {
        return await once()
      } catch (error) {
        signal?.throwIfAborted()
        if (!(error instanceof Passing)) throw error
        if (performance.now() >= givenUpAt)
          throw new PilotError('GLEANER_PILOT_UNREACHABLE', error.message, { cause: error })
        log.warn({ attempt, reason: error.message }, 'will ask the manager again')
        current++
      }
      await delay(backOff(attempt), undefined, { signal }).catch(() => {})
      signal?.throwIfAborted()
    }
  }

  return {
    call(route, asked) {
      const { waitMs, conflictIsFinal, signal } = asked
      const { method } = route
      const body = method === 'GET' ? {} : { body: textOf(asked.body ?? {}) }
      const sent = { method, path: pathOf(route, asked), ...body, waitMs, conflictIsFinal, signal }
      return patiently(() => once(route, sent), signal)
    },
    get(route, place, take) {
      const sent = { method: 'GET' as const, path: pathOf(route, place) }
      return patiently(() => send({ dispatcher: carrier, origin: origin(), secret }, sent, take))
    },
    put: (route, place, bytes, open) =>
      patiently(async () => {
        const sent = { method: 'PUT' as const, path: pathOf(route, place), bytes, body: open() }
        await send({ dispatcher: carrier, origin: origin(), secret }, sent, (body) => body.text())
      }),
    upgrade: (route, place, protocol) =>
      requestUpgrade(upgrader, protocol, {
        origin: origin(),
        path: pathOf(route, place),
        headers: { authorization: `Bearer ${secret}` },
      }),
    authorise(bearer) {
      secret = bearer
    },
    connect: ({ kind, url }, options) =>
      kind === 'manager'
        ? dispatch({ ...options, proxyTunnel: true })
        : new Pool(new URL(url).origin, options),
    get origin() {
      return origin()
    },
    async close() {
      await Promise.all([dispatcher.destroy(), carrier.destroy(), upgrader.destroy()])
    },
  }
}

/** @throws PilotError `protocol` if the answer is not what the route answers */
function understand<R extends JsonRoute>(route: R, path: string, text: string): z.output<R['answer']> {
  const parsed = route.answer.safeParse(parseJson(text, parseExactly))
  if (parsed.success) return parsed.data as z.output<R['answer']>
  throw new PilotError(
    'GLEANER_PROTOCOL',
    `the answer to ${path} is not understood: ${explain(parsed.error)}`,
  )
}

/** Doubles, and spreads out workers that lost the same manager at the same moment. */
function backOff(attempt: number): number {
  return Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt) * (0.5 + Math.random() / 2)
}

/** The way of one request. */
interface Way {
  dispatcher: Dispatcher
  origin: string
  secret: string
}

interface Sent extends CallSettings {
  method: Route['method']
  path: string
  /** JSON text, or so many bytes. */
  body?: string | Readable
  bytes?: number
}

/** Sends one request and has its answer read. */
async function send<T>(
  { dispatcher, origin, secret }: Way,
  call: Sent,
  take: (body: Dispatcher.ResponseData['body']) => Promise<T>,
): Promise<T> {
  const { method, path, body = null, bytes, signal = null } = call
  const type = typeof body === 'string' ? 'application/json' : 'application/octet-stream'
  const broken = (error: unknown): never => {
    const { message, code } = error as NodeJS.ErrnoException
    throw new Passing(`the manager at ${origin} cannot be reached: ${message || code}`, { cause: error })
  }
  const { statusCode, body: answer } = await request(new URL(path, origin), {
    dispatcher,
    method,
    headers: {
      authorization: `Bearer ${secret}`,
      ...(body !== null && { 'content-type': type }),
      ...(bytes !== undefined && { 'content-length': String(bytes) }),
    },
    body,
    signal,
    headersTimeout: (call.waitMs ?? 0) + ANSWER_MS,
    bodyTimeout: ANSWER_MS,
  }).catch(broken)
  if (statusCode < 200 || statusCode > 299) {
    throw refusal(call, statusCode, await answer.text().catch(broken))
  }
  // The reader's own errors are not the connection's.
  return await take(answer).catch((error: unknown) => {
    if (error === answer.errored) broken(error)
    throw error
  })
}

function refusal(call: Sent, status: number, text: string): Error {
  const parsed = ApiErrorBody.safeParse(parseJson(text))
  const message = parsed.success
    ? parsed.data.error.message
    : `${call.path} was answered with status ${status}`
  const conflict = status === CONFLICT && !call.conflictIsFinal
  // A result waits until the disk has room; bytes may be too many for it.
  if (status === NO_ROOM && call.method === 'PUT') return new PilotError('GLEANER_PILOT_REFUSED', message)
  if (status >= 500 || PASSING.includes(status) || conflict) return new Passing(message)
  return new PilotError(REFUSED.includes(status) ? 'GLEANER_PILOT_REFUSED' : 'GLEANER_PROTOCOL', message)
}
