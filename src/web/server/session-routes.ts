import type { FastifyInstance, FastifyRequest, RouteShorthandOptions } from 'fastify'
import { z } from 'zod'
import { SiteOrder } from '../../protocol/status.ts'
import { Digits, Name, limits } from '../../protocol/primitives.ts'
import { LoginRequest, type LoginResponse } from '../../protocol/dashboard-login.ts'
import { noSite } from '../../manager/services/explanations.ts'
import { RequestError } from '../../manager/http/api-errors.ts'
import { parse } from '../../manager/http/server.ts'
import { KEY_HEADER } from '../session-header.ts'
import type { JsonObject } from '../policy/merge-patch.ts'
import { isSameOrigin } from '../policy/same-origin.ts'
import { acceptsGzip } from './assets.ts'
import { Feed } from './feed.ts'
import { Present } from './current-view.ts'
import { readPast } from './read-history.ts'
import type { DashboardServices } from './dashboard-services.ts'
import { SESSION_MS, type Session, type Sessions } from './sessions.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks, where only those who signed in to the dashboard may. */
    dashboard?: Session
  }
}

const JobParams = z.object({ job: Digits })
const LogQuery = z.object({ key: z.string().min(1).max(limits.key) })
const ContextParams = z.object({ name: Name })
const OrderParams = z.object({ site: Name, order: SiteOrder })
const PilotParams = z.object({ pilot: z.string().regex(/^p[0-9]{1,15}$/) })

/** What browsers ask: to sign in, what there is to see, and what the buttons do. */
export function sessionRoutes(
  server: FastifyInstance,
  services: DashboardServices,
  sessions: Sessions,
): void {
  const { contexts, factoryId } = services
  // Cookies are shared by the ports of a host: each factory has one of its own.
  const cookieName = `gleaner-${factoryId}`
  const small = { bodyLimit: limits.smallBody }
  const sessionOf = ({ cookies, headers }: FastifyRequest) => {
    const key = headers[KEY_HEADER]
    return sessions.find(cookies[cookieName], typeof key === 'string' ? key : undefined)
  }

  server.addHook('onRequest', (request, _reply, done) => {
    if (request.method !== 'GET' && !isSameOrigin(request.headers)) throw foreign()
    done()
  })

  server.post('/dashboard/session', small, ({ body, protocol, headers }, reply): LoginResponse => {
    const opened = sessions.open(parse(LoginRequest, body).code)
    if (!opened) throw spent()
    const { cookie, key, role } = opened
    reply.setCookie(cookieName, cookie, {
      path: '/dashboard',
      httpOnly: true,
      sameSite: 'strict',
      // Before a proxy that ends TLS, only the browser knows.
      secure: protocol === 'https' || headers.origin?.startsWith('https:') === true,
      maxAge: SESSION_MS / 1000,
    })
    return { role, key }
  })

  // All that follows.
  const signedIn = {
    ...small,
    onRequest: (request: FastifyRequest, _reply: unknown, done: () => void) => {
      const session = sessionOf(request)
      if (!session) throw signedOut()
      if (request.method === 'POST' && session.role !== 'operator') throw viewerOnly()
      request.dashboard = session
      done()
    },
  }

  const present = new Present()
  const feed = new Feed(
    () => present.view(services.board.read(), contexts.list(), services.pools()) as unknown as JsonObject,
  )
  server.addHook('preClose', (done) => {
    feed.close()
    done()
  })
  server.get('/dashboard/api/feed', signedIn, (request, reply) => {
    const session = request.dashboard!
    feed.join(reply.raw, acceptsGzip(request.headers), () => sessions.isGood(session))
    reply.hijack()
  })
  server.get('/dashboard/api/past', signedIn, () => readPast(services))
  server.get('/dashboard/api/session', signedIn, ({ dashboard }) => ({ role: dashboard!.role }))
  server.delete('/dashboard/api/session', signedIn, ({ dashboard }, reply) => {
    sessions.end(dashboard!)
    reply.clearCookie(cookieName, { path: '/dashboard' })
    return { ended: 1 }
  })

  buttonRoutes(server, services, signedIn)
}

/** What a browser asks about a job, and what the buttons do, for those who have signed in. */
function buttonRoutes(
  server: FastifyInstance,
  { jobs, contexts, pilots, board }: DashboardServices,
  signedIn: RouteShorthandOptions,
): void {
  server.get('/dashboard/api/jobs/:job/errors', signedIn, ({ params }) =>
    jobs.errors(parse(JobParams, params).job),
  )
  server.get('/dashboard/api/jobs/:job/log', signedIn, ({ params, query }) =>
    jobs.log(parse(JobParams, params).job, parse(LogQuery, query).key),
  )
  server.post('/dashboard/api/jobs/:job/cancel', signedIn, ({ params }) =>
    jobs.cancel(parse(JobParams, params).job),
  )
  server.post('/dashboard/api/jobs/:job/retry', signedIn, ({ params }) =>
    jobs.retry(parse(JobParams, params).job),
  )
  server.post('/dashboard/api/contexts/:name/warm', signedIn, ({ params }) =>
    contexts.warm(parse(ContextParams, params).name),
  )
  server.post('/dashboard/api/sites/:site/:order', signedIn, ({ params }) => {
    const { site, order } = parse(OrderParams, params)
    const status = board.sites.order(site, order)
    if (!status) throw noSite(site)
    return status
  })
  server.post('/dashboard/api/pilots/:pilot/drain', signedIn, ({ params }) => {
    const { pilot } = parse(PilotParams, params)
    pilots.drain(pilot)
    return { pilot }
  })
}

const foreign = () =>
  new RequestError(403, 'GLEANER_FORBIDDEN', 'this request does not come from a page of this dashboard')
const spent = () =>
  new RequestError(
    401,
    'GLEANER_SIGNED_OUT',
    'this code was used already, or is too old: `factory dashboard` prints an address with a new one',
  )
const signedOut = () =>
  new RequestError(
    401,
    'GLEANER_SIGNED_OUT',
    'you are not signed in: `factory dashboard` prints an address that signs you in',
  )
const viewerOnly = () =>
  new RequestError(
    403,
    'GLEANER_FORBIDDEN',
    'this session can look, not act: `factory dashboard` without --viewer opens one that can',
  )
