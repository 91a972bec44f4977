import type { Logger } from 'pino'
import type { BatchSiteConfig, Config, SiteConfig } from './config/config.ts'
import type { PilotRegistry } from '../core/interfaces/pilot-registry.ts'
import type { FactorySites } from '../core/interfaces/factory-sites.ts'
import { configChanges } from './policy/config-changes.ts'
import { openRelays } from './relays/open-relays.ts'
import { SiteLoop } from './reconcile/site-loop.ts'
import type { BatchKind } from './sites/batch-kind.ts'
import { batchSite } from './sites/batch-site.ts'
import { htcondor } from './sites/htcondor.ts'
import { localSite } from './sites/local.ts'
import type { Site } from './sites/site.ts'
import { pbs } from './sites/pbs.ts'
import { slurm } from './sites/slurm.ts'
import { type Boot, submissionsFolder } from './submissions/submission.ts'
import { type Transports, openTransports } from './transports/open-transports.ts'

export type FactoryOptions = Boot & {
  config: Config
  /** Where the manager listens, for connections that relays carry here. */
  manager: { host: string; port: number }
  registry: PilotRegistry
  stateFolder: string
  log: Logger
}

export type Factory = FactorySites & {
  /** Tells every site that something has changed, e.g. that there is work. */
  wake(): void
  /**
   * Goes on by another configuration. Pilots that are there stay, and were submitted by the old one; those of sites that it does
   * not name any more are told to go.
   */
  configure(config: Config): Promise<void>
  /**
   * Ends all pilots and resolves once no queue holds any; rejects, naming them, if some cannot be got rid of. Called again
   * without `drain`, it waits for work no longer.
   * @param drain let them finish the work that is queued first.
   */
  stop(options: { drain: boolean }): Promise<void>
}

/** Starts to keep pilots at all sites. Those of an earlier run that are still in the queues are found and kept. */
export function startFactory(options: FactoryOptions): Factory {
  const { config, manager, registry, stateFolder, log, ...boot } = options
  const { factoryId } = registry
  const transports = openTransports(stateFolder)
  const relays = openRelays({ transports, stateFolder, factoryId, boot, manager, log })
  const startLoop = (site: SiteConfig) =>
    new SiteLoop({
      config: site,
      site: (onChange) => makeSite(site, factoryId, stateFolder, transports, onChange),
      relay: relays.of(site),
      siteFolder: submissionsFolder(stateFolder, site.name),
      registry,
      boot,
      log: log.child({ site: site.name }),
    })
  let inForce = config
  let loops = config.sites.map(startLoop)
  const loopOf = (site: string) => loops.find(({ name }) => name === site)

  /** A site that is not configured any more stays until its pilots are gone. */
  function retire(loop: SiteLoop): void {
    loop.stop({ drain: false }).then(
      () => {
        loops = loops.filter((one) => one !== loop)
        relays.retain(loops.map(({ config }) => config))
      },
      (error: unknown) => log.error({ err: error, site: loop.name }, 'its pilots cannot be removed'),
    )
  }
  return {
    explain: (site) => loopOf(site)?.explain(),
    order(site, order) {
      const loop = loopOf(site)
      loop?.order(order)
      return loop?.status()
    },
    status: () => loops.map((loop) => loop.status()),
    pilots: () => loops.flatMap((loop) => loop.pilotStatuses()),
    wake: () => loops.forEach((loop) => loop.wake()),
    async configure(config) {
      const { added, removed, changed } = configChanges(inForce, config)
      inForce = config
      for (const loop of loops) if (removed.includes(loop.name)) retire(loop)
      for (const name of [...changed, ...added]) {
        const old = loopOf(name)
        await old?.leave()
        const site = config.sites.find((one) => one.name === name)!
        loops = [...loops.filter((loop) => loop !== old), startLoop(site)]
      }
      relays.retain(loops.map(({ config }) => config))
    },
    async stop(options) {
      const results = await Promise.allSettled(loops.map((loop) => loop.stop(options)))
      relays[Symbol.dispose]()
      transports[Symbol.dispose]()
      const errors = results.flatMap((result) =>
        result.status === 'rejected' ? [result.reason as Error] : [],
      )
      if (errors.length > 0) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '))
    },
  }
}

/** The site behind a configuration. `onChange` is called when its queue is known to have changed. */
export function makeSite(
  config: SiteConfig,
  factoryId: string,
  stateFolder: string,
  transports: Transports,
  onChange: () => void,
): Site {
  const siteFolder = submissionsFolder(stateFolder, config.name)
  function batch<C extends BatchSiteConfig>(kind: BatchKind<C>, config: C): Site {
    return batchSite(kind, config, factoryId, siteFolder, transports.of(config, kind.environment, factoryId))
  }
  switch (config.kind) {
    case 'local':
      return localSite(config, siteFolder, onChange)
    case 'htcondor':
      return batch(htcondor, config)
    case 'slurm':
      return batch(slurm, config)
    case 'pbs':
      return batch(pbs, config)
  }
}
