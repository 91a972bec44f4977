import type { z } from 'zod'
import type { JsonText } from '../json/json-text.ts'

/**
 * Whose secret opens a route: the owner's token, a pilot's one-time token, the session of the worker that the path names or of any
 * worker, a token that reads metrics only (or the owner's), a ticket for the bundle that the path names.
 */
export type Access = 'user' | 'pilot' | 'ownWorker' | 'anyWorker' | 'metrics' | 'ticket'

/** One route of the manager, or of a source of pieces: what server, clients and the tests of both go by. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** With `:name` in place of what a request fills in. */
  readonly path: `/${string}`
  readonly access: Access
  /** What may stand in those places; absent where who serves the route reads them by itself. */
  readonly params?: z.ZodObject
  readonly query?: z.ZodObject
  /** What the JSON of a request must look like. */
  readonly body?: z.ZodType
  /** The same as the manager takes it in, where it passes values on as the texts they are: those that `kept` leads to. */
  readonly received?: z.ZodType
  readonly kept?: readonly [string, ...string[]]
  /** Longest body, bytes. Default: `limits.body`. */
  readonly bodyLimit?: number
  /** What the JSON of an answer looks like. */
  readonly answer?: z.ZodType
  /** The answer has values of users, whose numbers keep their texts. */
  readonly exact?: true
  /** Whether a client may send it again when it does not know what became of it. Default: true. */
  readonly repeatable?: false
  /** What is not JSON: bytes, as a body or as the answer; a text; or a connection that becomes a channel. */
  readonly carries?: 'bytes' | 'text' | 'channel'
}

/** A route with a JSON answer. */
export type JsonRoute = Route & { readonly answer: z.ZodType }

/** The names of the places in a path. */
export type ParamNames<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | ParamNames<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never

type Texts<Names extends string> = Record<Names, string | number>
type QueryOf<R extends Route> = R extends { query: z.ZodObject }
  ? { query?: Partial<Record<keyof z.input<R['query']>, string | number | boolean | undefined>> }
  : { query?: never }

/** Where a request to a route goes. */
export type Place<R extends Route> = (ParamNames<R['path']> extends never
  ? { params?: never }
  : { params: Texts<ParamNames<R['path']>> }) &
  QueryOf<R>

/** What a client says to a route. */
export type Asked<R extends Route> = Place<R> &
  (R extends { body: z.ZodType }
    ? undefined extends z.input<R['body']>
      ? { body?: z.input<R['body']> | JsonText }
      : { body: z.input<R['body']> | JsonText }
    : { body?: never })

/** Path and query of a request. */
export function pathOf<R extends Route>(route: R, place: Place<R>): string {
  const { params = {}, query = {} } = place as {
    params?: Record<string, string | number>
    query?: Record<string, string | number | boolean | undefined>
  }
  const path = route.path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(params[name]!))
  const asked = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) asked.set(name, String(value))
  return asked.size === 0 ? path : `${path}?${asked.toString()}`
}

/** What a path has in the places of a route's; undefined if it is another route's. The query must be cut off before. */
export function paramsOf<R extends Route>(
  { path: pattern }: R,
  path: string,
): Record<ParamNames<R['path']>, string> | undefined {
  const parts = path.split('/')
  const wanted = pattern.split('/')
  if (parts.length !== wanted.length) return undefined
  const found: Record<string, string> = {}
  for (const [i, name] of wanted.entries()) {
    if (name.startsWith(':')) found[name.slice(1)] = parts[i]!
    else if (parts[i] !== name) return undefined
  }
  return found
}
