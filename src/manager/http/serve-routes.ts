import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import type { z } from 'zod'
import { limits } from '../../protocol/primitives.ts'
import type { Access, Route } from '../../protocol/routes/route.ts'
import { parse } from './server.ts'

type Parsed<Schema, Otherwise> = Schema extends z.ZodType ? z.output<Schema> : Otherwise
type BodyOf<R extends Route> = R extends { received: z.ZodType }
  ? z.output<R['received']>
  : R extends { body: z.ZodType }
    ? z.output<R['body']>
    : undefined
type AnswerOf<R extends Route> = R extends { answer: z.ZodType } ? z.input<R['answer']> : never

/** What came in on a route. Each part is checked against its schema when it is read. @throws {RequestError} 400 there */
export interface Received<R extends Route> {
  readonly params: Parsed<R['params'], undefined>
  readonly query: Parsed<R['query'], undefined>
  readonly body: BodyOf<R>
  readonly request: FastifyRequest
  /** For answers that are not the JSON of a value: a handler that has sent one returns this. */
  readonly reply: FastifyReply
}

/** Answers what comes in on a route. */
export type Handler<R extends Route> = (
  received: Received<R>,
) => AnswerOf<R> | FastifyReply | Promise<AnswerOf<R> | FastifyReply | undefined>

type Table = Readonly<Record<string, Route>>
/** The routes of a table that are requests with an answer: a channel begins with an upgrade, which is no request to this server. */
type Served<Routes extends Table> = {
  [Name in keyof Routes]: Routes[Name] extends { carries: 'channel' } ? never : Name
}[keyof Routes]

/** A handler for every route of a table. */
export type Handlers<Routes extends Table> = { [Name in Served<Routes>]: Handler<Routes[Name]> }

const BINARY = 'application/octet-stream'

/** Serves all routes of a table. Who asks is checked before the body is read, so that strangers cannot send one. */
export function serveRoutes<Routes extends Table>(
  server: FastifyInstance,
  routes: Routes,
  handlers: Handlers<Routes>,
  access: Pick<Readonly<Record<Access, onRequestHookHandler>>, Routes[keyof Routes]['access']>,
): void {
  const add = (scope: FastifyInstance, name: string) => {
    const route: Route = routes[name]!
    const handle = (handlers as Record<string, Handler<Route>>)[name]!
    scope.route({
      method: route.method,
      url: route.path,
      onRequest: (access as Record<Access, onRequestHookHandler>)[route.access],
      bodyLimit: route.bodyLimit ?? limits.body,
      ...(route.kept && { config: { keep: route.kept } }),
      handler: (request, reply) => handle(new Incoming(route, request, reply)),
    })
  }
  const names = Object.keys(handlers)
  const hasBytes = (name: string) => routes[name]!.carries === 'bytes'
  for (const name of names) if (!hasBytes(name)) add(server, name)
  // In a scope of their own: nothing else takes bodies that are not JSON.
  void server.register((scope, _options, done) => {
    scope.addContentTypeParser(BINARY, (_request, payload, done) => done(null, payload))
    for (const name of names) if (hasBytes(name)) add(scope, name)
    done()
  })
}

class Incoming implements Received<Route> {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly #route: Route

  constructor(route: Route, request: FastifyRequest, reply: FastifyReply) {
    this.#route = route
    this.request = request
    this.reply = reply
  }

  get params() {
    return parsed(this.#route.params, this.request.params) as never
  }

  get query() {
    return parsed(this.#route.query, this.request.query) as never
  }

  get body() {
    return parsed(this.#route.received ?? this.#route.body, this.request.body) as never
  }
}

const parsed = (schema: z.ZodType | undefined, value: unknown) => schema && parse(schema, value)
