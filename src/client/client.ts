import { z } from 'zod'
import {
  BackupResponse,
  ContextsResponse,
  CreateKeyResponse,
  JobInfo,
  JobsResponse,
  KeyInfo,
  KeysResponse,
  type AddContextRequest,
  type BackupRequest,
  ReloadResponse,
} from '../protocol/client.ts'
import { PilotsResponse, SiteStatus, Status } from '../protocol/status.ts'
import { EventsResponse } from '../protocol/events.ts'
import { ContextSpec } from '../protocol/contexts/context.ts'
import { EndedSessions, LoginCode, type LoginCodeRequest } from '../protocol/dashboard.ts'
import { SiteExplanation } from '../protocol/explanation.ts'
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
import { createHttpClient, type CallOptions } from './http-client.ts'

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
  const tellOf = (name: string, what: 'warm' | 'drop', { signal }: CallOptions = {}) => {
    const path = `/v1/contexts/${encodeURIComponent(name)}/${what}`
    return transport.call({ method: 'POST', path, body: '{}', answer: ContextSpec, signal })
  }

  const client: Client = {
    async createJob(request, { signal, traceparent = process.env['TRACEPARENT'] } = {}) {
      const body = JSON.stringify(request)
      const trace = traceparent === '' ? {} : { traceparent }
      const call = { method: 'POST', path: '/v1/jobs', body, answer: JobInfo, signal, ...trace } as const
      const { id } = await transport.call(call)
      return jobHandle(transport, id)
    },
    job: (id) => jobHandle(transport, id),
    app: (module, options) => apps.open(module, options),
    async jobs({ signal } = {}) {
      return (await transport.call({ method: 'GET', path: '/v1/jobs', answer: JobsResponse, signal })).jobs
    },
    status: ({ signal } = {}) =>
      transport.call({ method: 'GET', path: '/v1/status', answer: Status, signal }),
    events({ signal, types, ...options } = {}) {
      const query = new URLSearchParams()
      for (const [key, value] of Object.entries({ ...options, type: types?.join() }))
        if (value !== undefined) query.set(key, String(value))
      const timeoutMs = EVENTS_MS + (options.waitMs ?? 0)
      return transport.call({
        method: 'GET',
        path: `/v1/events?${query.toString()}`,
        answer: EventsResponse,
        timeoutMs,
        signal,
      })
    },
    async contexts({ signal } = {}) {
      const answer = ContextsResponse
      return (await transport.call({ method: 'GET', path: '/v1/contexts', answer, signal })).contexts
    },
    addContext(path, { keepMs, signal } = {}) {
      const body = JSON.stringify({ path, keepMs } satisfies AddContextRequest)
      const timeoutMs = PACKING_MS
      return transport.call({
        method: 'POST',
        path: '/v1/contexts',
        body,
        answer: ContextSpec,
        timeoutMs,
        signal,
      })
    },
    warmContext: (name, options) => tellOf(name, 'warm', options),
    dropContext: (name, options) => tellOf(name, 'drop', options),
    orderSite: (site, order, { signal } = {}) =>
      transport.call({
        method: 'POST',
        path: `/v1/sites/${encodeURIComponent(site)}/${order}`,
        body: '{}',
        answer: SiteStatus,
        signal,
      }),
    pilots: ({ signal } = {}) =>
      transport.call({ method: 'GET', path: '/v1/pilots', answer: PilotsResponse, signal }),
    explainSite: (site, { signal } = {}) =>
      transport.call({
        method: 'GET',
        path: `/v1/sites/${encodeURIComponent(site)}/explanation`,
        answer: SiteExplanation,
        signal,
      }),
    openShell: (pilot, options) => openShell(transport, pilot, options),
    async backup(file, { signal } = {}) {
      return await transport.call({
        method: 'POST',
        path: '/v1/backup',
        body: JSON.stringify({ file } satisfies BackupRequest),
        answer: BackupResponse,
        timeoutMs: PACKING_MS,
        // Not repeated: it would be refused, since the file is there.
        repeatable: false,
        signal,
      })
    },
    createKey: (key, { signal } = {}) =>
      transport.call({
        method: 'POST',
        path: '/v1/keys',
        body: JSON.stringify(key),
        answer: CreateKeyResponse,
        // Not repeated: it would be told that there is a key of that name.
        repeatable: false,
        signal,
      }),
    async keys({ signal } = {}) {
      return (await transport.call({ method: 'GET', path: '/v1/keys', answer: KeysResponse, signal })).keys
    },
    revokeKey: (name, { signal } = {}) =>
      transport.call({
        method: 'POST',
        path: `/v1/keys/${encodeURIComponent(name)}/revoke`,
        body: '{}',
        answer: KeyInfo,
        signal,
      }),
    dashboardCode(role, { signal } = {}) {
      const body = JSON.stringify({ role } satisfies LoginCodeRequest)
      return transport.call({ method: 'POST', path: '/v1/dashboard/codes', body, answer: LoginCode, signal })
    },
    async endDashboardSessions({ signal } = {}) {
      const path = '/v1/dashboard/end'
      return (await transport.call({ method: 'POST', path, body: '{}', answer: EndedSessions, signal })).ended
    },
    reload: ({ signal } = {}) =>
      transport.call({ method: 'POST', path: '/v1/reload', body: '{}', answer: ReloadResponse, signal }),
    async stop({ drain = false, signal } = {}) {
      const body = JSON.stringify({ drain })
      // Not repeated: the next factory on this state folder would be stopped by an echo.
      const repeatable = false
      await transport.call({
        method: 'POST',
        path: '/v1/stop',
        body,
        answer: z.unknown(),
        repeatable,
        signal,
      })
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
