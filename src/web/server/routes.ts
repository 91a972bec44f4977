import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { dashboardRoutes as routes } from '../../protocol/routes/user-routes.ts'
import { tokenOnly } from '../../manager/http/access.ts'
import { type Handlers, serveRoutes } from '../../manager/http/serve-routes.ts'
import { type Asset, acceptsGzip, loadAssets } from './assets.ts'
import { PAGE_FILES } from './build-page.ts'
import type { DashboardServices } from './dashboard-services.ts'
import { sessionRoutes } from './session-routes.ts'
import { Sessions } from './sessions.ts'

/** Nothing but this server's own files, and no script or style that is not in one of them; markup is never made of text. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const HEADERS = {
  'content-security-policy': POLICY,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
}

/** The dashboard: a page, sessions for browsers, what the page shows, and what its buttons do. */
export async function dashboardRoutes(server: FastifyInstance, services: DashboardServices): Promise<void> {
  const sessions = new Sessions(services.kept, services.now)
  await server.register(cookie)
  server.addHook('onRequest', (_request, reply, done) => {
    reply.headers(HEADERS)
    done()
  })
  pageRoutes(server)
  for (const group of [codeRoutes, sessionRoutes]) {
    // Each group is a plugin of its own, so that one's check is not the other's.
    await server.register((scope, _options, done) => {
      group(scope, services, sessions)
      done()
    })
  }
}

/** What `factory dashboard` asks, with the user's token. */
function codeRoutes(server: FastifyInstance, { user }: DashboardServices, sessions: Sessions): void {
  const handlers: Handlers<typeof routes> = {
    dashboardCode: ({ body }) => sessions.issue(body.role),
    endDashboardSessions: () => ({ ended: sessions.endAll() }),
  }
  serveRoutes(server, routes, handlers, { user: tokenOnly(user) })
}

/** The page itself is no secret: it shows nothing to those who have not signed in. */
function pageRoutes(server: FastifyInstance): void {
  let loading: Promise<Map<string, Asset>> | undefined
  const assets = () => {
    loading ??= loadAssets().catch((error: unknown) => {
      loading = undefined
      throw error
    })
    return loading
  }
  const send = async (name: string, { headers }: FastifyRequest, reply: FastifyReply) => {
    const asset = (await assets()).get(name)!
    reply.headers({ 'cache-control': 'no-cache', etag: asset.etag, vary: 'accept-encoding' })
    if (headers['if-none-match'] === asset.etag) return reply.status(304).send()
    if (!acceptsGzip(headers)) return reply.type(asset.type).send(asset.plain)
    return reply.type(asset.type).header('content-encoding', 'gzip').send(asset.packed)
  }
  server.get('/dashboard', (_request, reply) => reply.redirect('/dashboard/', 308))
  server.get('/dashboard/', (request, reply) => send('index.html', request, reply))
  for (const name of PAGE_FILES)
    server.get(`/dashboard/${name}`, (request, reply) => send(name, request, reply))
}
