import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { createServer } from '../../../src/manager/http/server.ts'
import { hashToken } from '../../../src/manager/services/tokens.ts'
import type { LoginCode } from '../../../src/protocol/dashboard-login.ts'
import { dashboardRoutes } from '../../../src/web/server/routes.ts'
import type { World } from './simulated-factory.ts'

export interface ServedWorld extends AsyncDisposable {
  url: string
  /** An address that signs one browser in. */
  address: () => Promise<string>
}

/** Serves the dashboard of a made-up factory by the server, routes and feed of a real one. */
export async function serveWorld(world: World): Promise<ServedWorld> {
  const token = `u.${randomBytes(32).toString('base64url')}`
  const kept = new Map<string, string>()
  const server = createServer(pino({ level: 'silent' }))
  await dashboardRoutes(server, {
    user: hashToken(token),
    factoryId: 'bench',
    jobs: {
      errors: () =>
        Promise.resolve({
          failed: 412,
          kinds: 1,
          errors: [
            {
              tasks: 412,
              error: { name: 'RangeError', message: 'the prompt has 9,113 tokens, the model takes 8,192' },
              example: { key: 'claim-1', worker: 'w1', node: 'gpu0001' },
            },
          ],
        }),
      log: () => ({ key: 'claim-1', status: 'error', log: 'tokenising claim-1\n' }),
      cancel: unable,
      retry: unable,
    },
    contexts: { list: () => [], warm: unable },
    pilots: { drain: () => {} },
    board: {
      read: () => world.status(),
      sites: { status: () => [], pilots: () => [], order: () => undefined, explain: () => undefined },
    },
    events: { read: ({ after }) => ({ events: [], cursor: after, more: false }), before: () => 0 },
    pools: () => world.pools(),
    kept: { read: (key) => kept.get(key), write: (key, text) => void kept.set(key, text) },
    now: () => Date.now(),
  })
  const url = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    url,
    async address() {
      const headers = { authorization: `Bearer ${token}` }
      const response = await fetch(`${url}/v1/dashboard/codes`, { method: 'POST', headers })
      return `${url}/dashboard/#code=${((await response.json()) as LoginCode).code}`
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

const unable = () => {
  throw new Error('nothing can be done in a world that is made up')
}
