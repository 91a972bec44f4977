import { dashboardRoutes, userRoutes as routes } from '../protocol/routes/user-routes.ts'
import type { Client, ConnectOptions } from './client-types.ts'
import { createApps } from './functions/app.ts'

import {
  endpointOwner,
  isGone,
  notRunning,
  readCertificate,
  readEndpoint,
  stateFolder,
  type Address,
} from './endpoint.ts'
import { UnreachableError } from './errors.ts'
import { jobHandle } from './job.ts'
import { openShell } from './shell.ts'
import { createHttpClient } from './http-client.ts'

export type { AddContextOptions, Client, ConnectOptions } from './client-types.ts'

/** Longest wait for the beginning of a page of events that are there, milliseconds. */
const EVENTS_MS = 30_000
const PATIENCE_MS = 5 * 60_000
/** Packing a bundle or copying a ledger of tens of gigabytes takes this long at worst, milliseconds. */
const PACKING_MS = 60 * 60_000

/**
 * Connects to a factory. Asks it nothing yet, so it cannot fail.
 *
 * @example
 * await using client = connect()
 * const job = await client.createJob({ name: 'claims', context: 'fact-verification' })
 * await job.add([{ key: '1', input: { claim: '…', evidence: '…' } }])
 * await job.close()
 * for await (const { key, value } of job.results()) console.log(key, value)
 */
export function connect({
  state,
  url,
  token,
  ca,
  patienceMs = PATIENCE_MS,
  onRetry,
}: ConnectOptions = {}): Client {
  const locate =
    url !== undefined && token !== undefined ? fixed({ url, token, ca }) : inState(stateFolder(state))
  const transport = createHttpClient({ locate, patienceMs, onRetry })
  const { call } = transport

  const client: Client = {
    async createJob(body, { signal, traceparent = process.env['TRACEPARENT'] } = {}) {
      const trace = traceparent === '' ? {} : { traceparent }
      const { id } = await call(routes.createJob, { body, signal, ...trace })
      return jobHandle(transport, id)
    },
    job: (id) => jobHandle(transport, id),
    app: (module, options) => apps.open(module, options),
    jobs: async ({ signal } = {}) => (await call(routes.jobs, { signal })).jobs,
    status: ({ signal } = {}) => call(routes.status, { signal }),
    events({ signal, types, ...options } = {}) {
      const query = { ...options, type: types?.join() }
      return call(routes.events, { query, timeoutMs: EVENTS_MS + (options.waitMs ?? 0), signal })
    },
    contexts: async ({ signal } = {}) => (await call(routes.contexts, { signal })).contexts,
    packing: async ({ signal } = {}) => (await call(routes.contexts, { signal })).packing,
    addContext: (path, { keepMs, signal } = {}) =>
      call(routes.addContext, { body: { path, keepMs }, timeoutMs: PACKING_MS, signal }),
    warmContext: (name, { signal } = {}) => call(routes.warmContext, { params: { name }, signal }),
    dropContext: (name, { signal } = {}) => call(routes.dropContext, { params: { name }, signal }),
    orderSite: (site, order, { signal } = {}) => call(routes.orderSite, { params: { site, order }, signal }),
    pilots: ({ signal } = {}) => call(routes.pilots, { signal }),
    explainSite: (site, { signal } = {}) => call(routes.explainSite, { params: { site }, signal }),
    openShell: (pilot, options) => openShell(transport, pilot, options),
    backup: (file, { signal } = {}) => call(routes.backup, { body: { file }, timeoutMs: PACKING_MS, signal }),
    createKey: (body, { signal } = {}) => call(routes.createKey, { body, signal }),
    keys: async ({ signal } = {}) => (await call(routes.keys, { signal })).keys,
    revokeKey: (name, { signal } = {}) => call(routes.revokeKey, { params: { name }, signal }),
    dashboardCode: (role, { signal } = {}) => call(dashboardRoutes.dashboardCode, { body: { role }, signal }),
    endDashboardSessions: async ({ signal } = {}) =>
      (await call(dashboardRoutes.endDashboardSessions, { signal })).ended,
    reload: ({ signal } = {}) => call(routes.reload, { signal }),
    async stop({ drain = false, signal } = {}) {
      await call(routes.stop, { body: { drain }, signal })
    },
    async close() {
      await apps.close()
      await transport.close()
    },
    [Symbol.asyncDispose]: () => client.close(),
  }
  const apps = createApps(client, transport)
  return client
}

const fixed = (address: Address) => () => Promise.resolve(address)

function inState(state: string) {
  return async (lost: boolean): Promise<Address> => {
    const endpoint = readEndpoint(state)
    if (endpoint && !isGone(endpoint)) {
      const ca = endpoint.url.startsWith('https:') ? await readCertificate(state) : undefined
      return { ...endpoint, ca, owner: endpointOwner(state) }
    }
    if (lost)
      throw new UnreachableError(`the factory on ${state} is gone: start it again with "factory start"`)
    throw notRunning(state)
  }
}
