import { join } from 'node:path'
import type { Logger } from 'pino'
import { bareHost } from '../../common/plain/bare-host.ts'
import { openAiRoutes } from '../../openai/routes.ts'
import { dashboardRoutes } from '../../web/server/routes.ts'
import { packRuntime, removeOldRuntimes } from '../../runtime/pack-runtime.ts'
import { openStore } from '../../bundle/store/store.ts'
import type { Config } from '../../factory/config/config.ts'
import { startFactory } from '../../factory/factory.ts'
import { bootedRuntimes } from '../../factory/submissions/submission.ts'
import type { ContextMode } from '../../protocol/contexts/context.ts'
import type { ReloadResponse } from '../../protocol/client.ts'
import { type ManagerOptions, startManager } from '../../manager/manager.ts'
import { openSpanExport } from '../../manager/services/tracing/open-span-export.ts'
import { isWildcard } from '../../manager/http/tls.ts'
import { plural } from '../views/format.ts'
import { announced, PACKING } from '../views/progress/announce-slow-work.ts'
import { ConfigInForce } from './config-in-force.ts'
import { listenAddress, unreachable } from './expected-address.ts'

/** What the manager serves besides its own routes. */
const ROUTES: NonNullable<ManagerOptions['routes']> = [
  (server, { stateFolder, ...services }) =>
    openAiRoutes(server, { ...services, folder: join(stateFolder, 'openai') }),
  dashboardRoutes,
]

/** A manager and a factory that run in this process. */
export interface Serving {
  /** Where the manager listens. */
  url: string
  config: Config
  /** Names of the contexts that the configuration lists. */
  contexts: string[]
  /** Names of sites that are not configured any more, but may have pilots in their queues. */
  lostSites: string[]
  /** What pilots cannot reach, for the user. */
  warnings: string[]
  /** Resolves when a client asks the factory to stop when the queued work is done. */
  drainRequested: Promise<void>
  /** Resolves when a client asks it to stop at once. */
  stopRequested: Promise<void>
  /** Reads the configuration again. @throws ConfigError, InputError; it goes on by the old one */
  reload(): Promise<ReloadResponse>
  /**
   * Removes the pilots, after the queued work is done if `drain`, and closes everything. Called again without `drain`, it waits
   * for work no longer.
   */
  stop(options: { drain: boolean }): Promise<void>
}

/**
 * Starts everything that runs on a state folder. What is overridden takes the place of what its configuration says; `onDoing`
 * hears what takes a while.
 *
 * @throws ConfigError, InputError, LedgerLockedError, BundleError, or what the system says of the address or the disk
 */
export async function serve(
  state: string,
  version: string,
  log: Logger,
  overrides: { contextMode?: ContextMode } = {},
  onDoing: (what: string) => void = () => {},
): Promise<Serving> {
  const inForce = new ConfigInForce(state)
  const { config } = inForce
  const drainRequested = Promise.withResolvers<void>()
  const stopRequested = Promise.withResolvers<void>()

  await using opened = new AsyncDisposableStack()
  // A client may come before the factory is up, which looks at everything when it starts.
  let wake = () => {}
  const store = opened.use(await openStore({ folder: join(state, 'store'), log }))
  const runtime = await packRuntime({ store, log, onPacking: () => onDoing(PACKING) })
  const manager = await announced(
    startManager({
      ...managerSettings(config),
      ...overrides,
      stateFolder: state,
      store,
      runtime,
      version,
      log,
      routes: ROUTES,
      spans: await openSpanExport({ version, log }),
      hasRelay: (site) => inForce.site(site)?.relay !== undefined,
      mayOpenShells: (site) => inForce.site(site)?.shell === true,
      onStop: ({ drain }) => (drain ? drainRequested : stopRequested).resolve(),
      onWork: () => wake(),
    }),
    () => onDoing(`reading the ledger and the files of ${plural(config.contexts.length, 'context')}`),
  )
  opened.defer(() => manager.close())
  await removeOldRuntimes(store, runtime.id, await bootedRuntimes(state, manager.registry))
  const lostSites = manager.registry
    .sites()
    .filter((name) => !config.sites.some((site) => site.name === name))

  const managerUrl = config.manager.url ?? manager.url
  const warnings = [...config.warnings, ...unreachable(config, managerUrl)]
  for (const warning of warnings) log.warn(warning)
  const factory = startFactory({
    config,
    manager: { host: dialled(config), port: Number(new URL(manager.url).port) },
    registry: manager.registry,
    stateFolder: state,
    log,
    managerUrl,
    ...(manager.caFile !== undefined && { caFile: manager.caFile }),
    runtime,
  })
  wake = () => factory.wake()
  const reload = () => inForce.reload((next) => factory.configure(next), log)
  manager.showSites({ ...factory, reload, notice: () => inForce.notice() })

  const rest = opened.move()
  async function finish(pilotsGone: Promise<void>): Promise<void> {
    await using _rest = rest
    await pilotsGone
  }
  let finished: Promise<void> | undefined
  return {
    url: manager.url,
    config,
    contexts: manager.contexts,
    lostSites,
    warnings,
    drainRequested: drainRequested.promise,
    stopRequested: stopRequested.promise,
    reload,
    stop(options) {
      const pilotsGone = factory.stop(options)
      // It ends as it does for the first who asked.
      pilotsGone.catch(() => {})
      return (finished ??= finish(pilotsGone))
    },
  }
}

/** Where this process itself reaches the manager. */
function dialled(config: Config): string {
  const { host } = listenAddress(config)
  return isWildcard(host) ? '127.0.0.1' : host
}

function managerSettings({ manager, contexts, notify, sites }: Config) {
  const { url, workerTimeout, leaseTarget, idle, contextMode, blobs } = manager
  const listen = listenAddress({ manager })
  const advertised = url === undefined ? undefined : new URL(url)
  return {
    ...{ listen, contexts, notify },
    encrypt: sites.some(({ relay }) => relay !== undefined && typeof relay !== 'string'),
    // What has another port is a proxy, which commands on this machine need not go through.
    ...(advertised?.port === String(listen.port) && { advertise: bareHost(advertised.hostname) }),
    scheduler: { workerTimeoutMs: workerTimeout * 1000 },
    leaseTargetMs: leaseTarget * 1000,
    idleMs: idle * 1000,
    contextMode,
    blobBytes: blobs * 2 ** 20,
  }
}
