import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Agent, errors, request } from 'undici'
import type { z } from 'zod'
import { toOwnListener } from '../common/listener-owner.ts'
import { trustOnlyCertificate } from '../common/tls-pinning.ts'
import { requestUpgrade, UpgradeRefused } from '../common/upgrades/request-upgrade.ts'
import { textOf } from '../protocol/json/json-text.ts'
import { ApiErrorBody, explain, limits, parseJson } from '../protocol/primitives.ts'
import { type Asked, type JsonRoute, pathOf, type Place, type Route } from '../protocol/routes/route.ts'
import { parseExactly } from '../protocol/json/exact-numbers.ts'
import type { Address } from './endpoint.ts'
import { ApiError, ProtocolError, UnreachableError } from './errors.ts'

/** Options every request of the client takes. */
export interface CallOptions {
  /** Gives the request up; it then throws the signal's reason. */
  signal?: AbortSignal | undefined
}

export interface CallSettings extends CallOptions {
  /** Longest wait for the answer's first byte, milliseconds. */
  timeoutMs?: number | undefined
  /** The span that it is part of, as in the header of that name. */
  traceparent?: string | undefined
}

/** A request as it is sent. */
interface Sent extends CallSettings {
  method: Route['method']
  /** Path and query. */
  path: string
  /** JSON text, or bytes. */
  body?: string | Uint8Array
  repeatable?: boolean | undefined
}

export interface HttpClient {
  /**
   * Asks a route, again and again if need be and if the route allows it.
   *
   * @throws ApiError, ProtocolError, UnreachableError, or what `locate` throws
   */
  call: <R extends JsonRoute>(route: R, asked: Asked<R> & CallSettings) => Promise<z.output<R['answer']>>
  /** Sends bytes. Throws as `call` does. */
  put<R extends Route>(route: R, place: Place<R>, bytes: Uint8Array, options?: CallOptions): Promise<void>
  /** Gets bytes. Throws as `call` does. */
  get<R extends Route>(route: R, place: Place<R>, options?: CallOptions): Promise<Buffer>
  /** Has a connection of its own become what `protocol` names. One attempt. Throws as `call` does. */
  upgrade<R extends Route>(
    route: R,
    place: Place<R>,
    protocol: string,
    options?: CallOptions,
  ): Promise<Duplex>
  /** Ends what is under way, also what waits to try again. */
  close(): Promise<void>
}

export interface HttpClientOptions {
  /**
   * Finds the manager. Asked again after each failure, because a restarted manager may listen elsewhere.
   * `lost`: it was reached before, so that its absence is likely to be a restart.
   */
  locate: (lost: boolean) => Promise<Address>
  /** How long to keep trying while the manager cannot be reached, milliseconds. */
  patienceMs: number
  /** Told of each failure that is going to be tried again. */
  onRetry?: ((error: UnreachableError) => void) | undefined
}

const TIMEOUT_MS = 30_000
/** Statuses by which a server that has not acted says that it is too busy, or that a proxy before it cannot reach it. */
const PASSING = [408, 429, 502, 503, 504]
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 3_000

/** HTTP over kept-alive connections, made patient: a manager that restarts costs its clients nothing but time. */
export function createHttpClient({ locate, patienceMs, onRetry }: HttpClientOptions): HttpClient {
  const agents = new Map<string, Agent>()
  let address: Address | undefined
  let reached = false
  const closing = new AbortController()

  /** Connections that trust an address's certificate and no other. */
  function agentFor({ ca, owner }: Address): Agent {
    const key = ca ?? `user ${owner}`
    const agent = agents.get(key) ?? openAgent({ ca, owner })
    agents.set(key, agent)
    return agent
  }

  async function once(call: Sent): Promise<Buffer> {
    address ??= await locate(reached)
    const { status, answer } = await exchange(agentFor(address), address, call)
    reached = true
    if (status >= 200 && status < 300) return answer
    throw refusal(call, status, answer.toString())
  }

  /** True if the manager's address or token has changed under us. */
  async function hasMoved(): Promise<boolean> {
    const before = address
    address = await locate(reached)
    return before?.token !== address.token || before.url !== address.url
  }

  async function patiently(call: Sent): Promise<Buffer> {
    let deadline: number | undefined
    for (let attempt = 0; ; attempt++) {
      try {
        call.signal?.throwIfAborted()
        closing.signal.throwIfAborted()
        return await once(call)
      } catch (error) {
        call.signal?.throwIfAborted()
        if (error instanceof ApiError && error.status === 401 && (await hasMoved())) continue
        if (!(error instanceof UnreachableError) || call.repeatable === false) throw error
        deadline ??= performance.now() + patienceMs
        if (performance.now() >= deadline) throw error
        onRetry?.(error)
        address = undefined
      }
      // An abort ends the wait; the next turn throws its reason.
      const signal = AbortSignal.any([closing.signal, ...(call.signal ? [call.signal] : [])])
      await delay(backOff(attempt), undefined, { signal }).catch(() => {})
    }
  }

  return {
    async call(route, asked) {
      const { timeoutMs, traceparent, signal } = asked
      const { method, repeatable } = route
      // A request that says nothing is an empty one: its type is JSON all the same.
      const body = method === 'GET' ? {} : { body: textOf(asked.body ?? {}) }
      const sent = { method, path: pathOf(route, asked), ...body, repeatable, timeoutMs, traceparent, signal }
      return checked(route, sent, (await patiently(sent)).toString())
    },
    async put(route, place, body, { signal } = {}) {
      await patiently({ method: 'PUT', path: pathOf(route, place), body, signal })
    },
    get: (route, place, { signal } = {}) => patiently({ method: 'GET', path: pathOf(route, place), signal }),
    async upgrade(route, place, protocol, { signal } = {}) {
      const path = pathOf(route, place)
      const found = await locate(reached)
      const { url, token } = found
      const request = { origin: new URL(url).origin, path, headers: { authorization: `Bearer ${token}` } }
      try {
        return await requestUpgrade(agentFor(found), protocol, request, signal)
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof UpgradeRefused) throw refusal({ method: 'GET', path }, error.status, error.body)
        throw unreachable(url, error)
      }
    },
    async close() {
      closing.abort(new Error('the client was closed'))
      await Promise.all([...agents.values()].map((agent) => agent.destroy()))
    },
  }
}

function openAgent({ ca, owner }: Pick<Address, 'ca' | 'owner'>): Agent {
  return new Agent({
    connections: 8,
    keepAliveTimeout: 10_000,
    connect:
      ca === undefined
        ? toOwnListener({ timeout: 5_000 }, { owner })
        : { timeout: 5_000, ...trustOnlyCertificate(ca) },
    maxResponseSize: Math.max(limits.body, limits.blob),
  })
}

/** Doubles, and spreads out clients that lost the same manager at the same moment. */
function backOff(attempt: number): number {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt)
  return longest * (0.5 + Math.random() / 2)
}

async function exchange(agent: Agent, { url, token }: Address, call: Sent) {
  const timeoutMs = call.timeoutMs ?? TIMEOUT_MS
  try {
    const response = await request(new URL(call.path, url), {
      dispatcher: agent,
      method: call.method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(call.body !== undefined && { 'content-type': typeOf(call.body) }),
        ...(call.traceparent !== undefined && { traceparent: call.traceparent }),
      },
      body: call.body ?? null,
      signal: call.signal ?? null,
      headersTimeout: timeoutMs,
      bodyTimeout: TIMEOUT_MS,
    })
    return { status: response.statusCode, answer: Buffer.from(await response.body.arrayBuffer()) }
  } catch (error) {
    if (error instanceof errors.ResponseExceededMaxSizeError) {
      throw new ProtocolError(`the answer to ${call.method} ${call.path} is longer than this program takes`)
    }
    throw unreachable(url, error)
  }
}

function unreachable(url: string, error: unknown): UnreachableError {
  const reason = error instanceof Error ? error.message || (error as NodeJS.ErrnoException).code : error
  return new UnreachableError(`the manager at ${url} cannot be reached (${String(reason)})`, { cause: error })
}

const typeOf = (body: string | Uint8Array) =>
  typeof body === 'string' ? 'application/json' : 'application/octet-stream'

function checked<R extends JsonRoute>(route: R, call: Sent, text: string): z.output<R['answer']> {
  const parsed = route.answer.safeParse(parseJson(text, route.exact ? parseExactly : JSON.parse))
  if (parsed.success) return parsed.data as z.output<R['answer']>
  throw new ProtocolError(
    `the answer to ${call.method} ${call.path} is not understood (${explain(parsed.error)}): ` +
      'client and factory must be of the same version',
  )
}

function refusal(call: Sent, status: number, text: string): Error {
  const parsed = ApiErrorBody.safeParse(parseJson(text))
  const { code, message } = parsed.success
    ? parsed.data.error
    : { code: 'unknown', message: `${call.method} ${call.path} was answered with HTTP status ${status}` }
  return PASSING.includes(status) ? new UnreachableError(message) : new ApiError(status, code, message)
}
