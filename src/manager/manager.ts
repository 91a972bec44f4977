import { readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { makePrivateFolder } from '../common/private-path.ts'
import { replaceFile, writeJson } from '../common/write-json.ts'
import { servePieces } from '../bundle/upload/piece-routes.ts'
import { TicketChecker } from '../bundle/format/ticket.ts'
import { managerDefaults } from '../core/manager-defaults.ts'
import type { FactorySites } from '../core/interfaces/factory-sites.ts'
import type { Endpoint } from '../protocol/client.ts'
import { parseJson } from '../protocol/primitives.ts'
import type { ContextMode } from '../protocol/contexts/context.ts'
import type { Pool } from '../protocol/events.ts'
import { backUp } from './ledger/backup.ts'
import type { ApiKeys } from './services/api-keys.ts'
import type { Contexts } from './services/contexts/contexts.ts'
import type { Jobs } from './services/jobs/jobs.ts'
import type { EventFeed } from './services/events/event-feed.ts'
import { openServices, type ServiceOptions, type Services } from './services/open-services.ts'
import { Ledger } from './ledger/ledger.ts'
import type { LedgerPilotRegistry } from './services/pilots/pilot-registry.ts'
import type { TaskParts } from './services/jobs/task-parts.ts'
import { TaskRows } from './services/jobs/task-rows.ts'
import { managerRoutes } from '../protocol/routes/manager-routes.ts'
import { managerAccess } from './http/access.ts'
import { blobHandlers } from './http/routes/blobs.ts'
import { clientHandlers } from './http/routes/clients.ts'
import { eventHandlers } from './http/routes/events.ts'
import type { ManagerHandlers } from './http/routes/handlers.ts'
import { metricHandlers } from './http/routes/metrics.ts'
import { type BootedRuntime, workerHandlers } from './http/routes/workers.ts'
import { siteHandlers } from './http/routes/sites.ts'
import { serveRoutes } from './http/serve-routes.ts'
import { shellRoutes } from './http/routes/shells.ts'
import { createServer } from './http/server.ts'
import { Shells } from './services/shells.ts'
import type { StatusBoard } from './services/status-board.ts'
import { isLoopback, isWildcard, ownCertificate } from './http/tls.ts'
import { hashToken, makeToken } from './services/tokens.ts'

/** How often things that are no longer needed are looked for, milliseconds. */
const SWEEP_MS = 60_000

export { LedgerLockedError } from './ledger/database.ts'

export interface ManagerOptions extends ServiceOptions {
  /** Where to listen. With port 0, the port of the last start, or a free one. Beyond loopback it speaks TLS. */
  listen: { host: string; port: number }
  /** Host name or address by which pilots reach it. Default: `listen.host`, or this machine's name if that is a wildcard. */
  advertise?: string
  runtime: BootedRuntime
  /** Files or folders of contexts to register. It answers meanwhile: their bundles may be large. */
  contexts?: string[]
  /** Defaults of these are in `managerDefaults`. Work a worker keeps in hand, in milliseconds at its own rate. */
  leaseTargetMs?: number
  /** A worker without work for this long leaves, milliseconds. */
  idleMs?: number
  /** What of a context outlives a task. */
  contextMode?: ContextMode
  /** Further routes for users, each group with checks and errors of its own. */
  routes?: ((server: FastifyInstance, services: ManagerServices) => Promise<void>)[]
  /** Speaks TLS on loopback, too: what leads there comes from elsewhere. */
  encrypt?: boolean
  /** Whether the owner may open shells in the pilots of a site. Default: in none. */
  mayOpenShells?: (site: string) => boolean
  /** Called when a user asks the factory to stop. */
  onStop: (options: { drain: boolean }) => void
}

/** What further routes may use. */
export interface ManagerServices {
  jobs: Jobs
  contexts: Contexts
  parts: TaskParts
  pilots: LedgerPilotRegistry
  board: StatusBoard
  /** What happened. */
  events: EventFeed
  /** Workers by site and kind of slots, and where their slots' time went. */
  pools: () => Pool[]
  /** Hash of the user's token. */
  user: Uint8Array
  keys: ApiKeys
  /** The factory's identity, stable over restarts. */
  factoryId: string
  stateFolder: string
  /** Keeps texts while the manager does not run. */
  kept: { read(key: string): string | undefined; write(key: string, text: string): void }
  /** The manager's clock, milliseconds. */
  now: () => number
  log: Logger
}

/** A manager that runs. */
export interface Manager {
  /** Where pilots and clients reach it. */
  url: string
  /** Its certificate (PEM), if it speaks TLS. */
  caFile?: string
  /** What the factory needs of it. */
  registry: LedgerPilotRegistry
  /** Names of the contexts that it was to register. */
  contexts: string[]
  /** Says who runs the sites. */
  showSites(sites: FactorySites): void
  /** Ends open requests, writes down what is under way, closes the ledger. */
  close(): Promise<void>
}

/**
 * Starts the manager of a state folder.
 * @throws {LedgerLockedError} if another one runs on it, UnsafePathError if others could change the folder
 */
export async function startManager(options: ManagerOptions): Promise<Manager> {
  const { stateFolder, log } = options
  await makePrivateFolder(stateFolder)
  // What was opened is closed again, the last first, when it stops and also when it cannot start.
  await using opened = new AsyncDisposableStack()
  const ledger = new Ledger(join(stateFolder, 'ledger.db'), log)
  opened.defer(() => ledger.close())
  const running = await startOn(ledger, opened, options)
  const all = opened.move()
  const close = async () => {
    await all.disposeAsync()
    await removeEndpoint(stateFolder, running.url)
  }
  return { ...running, close }
}

async function startOn(
  ledger: Ledger,
  opened: AsyncDisposableStack,
  options: ManagerOptions,
): Promise<Omit<Manager, 'close'>> {
  const { stateFolder, store, log, listen } = options
  const host = options.advertise ?? (isWildcard(listen.host) ? hostname() : listen.host)
  const encrypts = options.encrypt === true || !isLoopback(listen.host)
  const tls = encrypts ? await ownCertificate(stateFolder, [host]) : undefined

  const services = await openServices(ledger, options)
  const { dispatcher, sessions, pilots, contexts, jobs, parts, keys, tickets, peers, board, events } =
    services
  const userToken = ledger.metaOrNew('user-token', () => makeToken('u').token)
  const user = hashToken(userToken)
  const metricsToken = ledger.metaOrNew('metrics-token', () => makeToken('m').token)

  const server = createServer(log, tls)
  opened.defer(() => options.spans?.close())
  opened.defer(() => events.close())
  opened.defer(() => server.close())
  // Before the server, which waits for its open requests.
  opened.defer(() => dispatcher.close())
  const handlers = handlersOf(ledger, services, options)
  serveRoutes(server, managerRoutes, handlers, managerAccess(sessions, user, hashToken(metricsToken)))

  const shells = new Shells({
    sessions,
    dispatcher,
    note: events.feed.note,
    mayOpen: options.mayOpenShells ?? (() => false),
    log,
  })
  shellRoutes(server, { shells, sessions, user })

  const checker = new TicketChecker(tickets.publicKey)
  await server.register(servePieces, {
    store,
    authorise: (ticket, bundle) => checker.isGood(ticket, bundle, dispatcher.now),
  })

  const shared: ManagerServices = {
    ...{ jobs, contexts, pilots, board, parts, user, keys, stateFolder, log },
    events: events.feed,
    pools: () => events.workerEvents.pools(),
    factoryId: pilots.factoryId,
    kept: {
      read: (key) => ledger.meta(key),
      write: (key, text) => ledger.setMeta(key, text),
    },
    now: () => dispatcher.now,
  }
  for (const routes of options.routes ?? []) await server.register((scope) => routes(scope, shared))

  opened.defer(sweepAll(services, log))

  const registered = contexts.registerAll(options.contexts ?? [])
  // It is waited for below, or does not matter when it cannot listen.
  registered.catch(() => {})
  const port = await listenOn(server, ledger, listen)
  const url = `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
  peers.managerUrl = url
  // For whatever reads the metrics, which must not be able to do anything else.
  await replaceFile(join(stateFolder, 'metrics-token'), metricsToken)
  const endpoint: Endpoint = { url, token: userToken, pid: process.pid, host: hostname() }
  await writeJson(endpointFile(stateFolder), endpoint)
  log.info({ url }, 'manager started')

  return {
    url,
    ...(tls ? { caFile: tls.certFile } : {}),
    registry: pilots,
    contexts: await registered,
    showSites: (sites) => (board.sites = sites),
  }
}

/** What answers each route. */
function handlersOf(ledger: Ledger, services: Services, options: ManagerOptions): ManagerHandlers {
  const { dispatcher, sessions, contexts, blobs, jobs, progress, parts, keys, tickets, peers, board } =
    services
  const { explanations, events, spans, metrics } = services
  const terms = {
    ticketKey: tickets.publicText,
    workerTimeoutMs: options.scheduler?.workerTimeoutMs ?? managerDefaults.workerTimeoutMs,
    leaseTargetMs: options.leaseTargetMs ?? managerDefaults.leaseTargetMs,
    idleMs: options.idleMs ?? managerDefaults.idleMs,
    contextMode: options.contextMode ?? managerDefaults.contextMode,
  }
  const { workerEvents, feed } = events
  const heard = { board, progress, parts, peers, workerEvents, spans, exchanges: metrics.exchanges }
  const rows = new TaskRows(ledger)
  return {
    ...clientHandlers({
      ...{ jobs, contexts, blobs, keys, progress, rows, board },
      backUp: (file) => backUp(ledger, file, dispatcher.now),
      onStop: options.onStop,
    }),
    ...siteHandlers({ explanations, board }),
    ...workerHandlers({ dispatcher, sessions, contexts, ...heard, runtime: options.runtime, terms }),
    ...eventHandlers(feed),
    ...metricHandlers(metrics),
    ...blobHandlers(blobs),
  }
}

/** Removes what is no longer needed, from time to time. Returns what ends that. */
function sweepAll({ jobs, contexts, blobs }: Services, log: Logger): () => Promise<void> {
  let sweeping: Promise<void> | undefined
  const sweeper = setInterval(() => {
    const isPast = (job: number) => jobs.isPast(job)
    sweeping = Promise.all([jobs.sweep(), contexts.sweep(), blobs.sweep(isPast)]).then(
      () => {},
      (error: unknown) => log.error({ err: error }, 'things that are no longer needed could not be removed'),
    )
  }, SWEEP_MS)
  return async () => {
    clearInterval(sweeper)
    await sweeping
  }
}

/** Listens where it did last time if it may choose: workers of an earlier start come back to the port they know. */
async function listenOn(
  server: FastifyInstance,
  ledger: Ledger,
  listen: { host: string; port: number },
): Promise<number> {
  const last = Number(ledger.meta('port') ?? 0)
  const bind = (port: number) => server.listen({ host: listen.host, port })
  if (listen.port !== 0 || last === 0) await bind(listen.port)
  else {
    await bind(last).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error
      return bind(0)
    })
  }
  const { port } = server.server.address() as { port: number }
  if (port !== last) ledger.setMeta('port', String(port))
  return port
}

/** Says how to reach this manager to the commands of the same user. */
const endpointFile = (stateFolder: string) => join(stateFolder, 'endpoint.json')

/** Takes the endpoint back, unless a successor has written its own by now: the ledger is free. */
async function removeEndpoint(stateFolder: string, url: string): Promise<void> {
  const file = endpointFile(stateFolder)
  const found = parseJson(await readFile(file, 'utf8').catch(() => '')) as Partial<Endpoint> | undefined
  if (found?.pid === process.pid && found.url === url) await rm(file, { force: true })
}
