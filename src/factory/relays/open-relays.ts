import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { createThrottle } from '../../common/tunnel/throttle.ts'
import { relayOf, type SiteConfig } from '../config/config.ts'
import type { Boot } from '../submissions/submission.ts'
import type { Transports } from '../transports/open-transports.ts'
import { keepRelay, RelayDown, type SiteRelay } from './site-relay.ts'

/** Most disk that files of contexts take on a submit node, MiB, where nothing is set. */
const CACHE_MB = 50 << 10

/** The relays that a factory keeps: one for each submit node and folder, however many sites it has. */
export interface Relays extends Disposable {
  /** That of a site; undefined for a site without, or with one that the factory does not start. */
  of(site: SiteConfig): SiteRelay | undefined
  /** Ends those that no site of these has. */
  retain(sites: readonly SiteConfig[]): void
}

export type RelaysOptions = {
  transports: Transports
  stateFolder: string
  factoryId: string
  boot: Boot
  /** Where the manager listens. */
  manager: { host: string; port: number }
  log: Logger
}

export function openRelays({
  transports,
  stateFolder,
  factoryId,
  boot,
  manager,
  log,
}: RelaysOptions): Relays {
  const kept = new Map<string, { relay: SiteRelay; settings: string }>()

  function start(site: Started, key: string): SiteRelay {
    const { address, port, cache = CACHE_MB } = site.relay
    if (boot.caFile === undefined) {
      const trouble = 'restart the factory, so that the manager encrypts what a relay carries'
      log.warn({ site: site.name }, trouble)
      return unusable(trouble)
    }
    const place = createHash('sha256').update(key).digest('hex').slice(0, 12)
    return keepRelay({
      link: transports.link(site)!,
      files: transports.of(site, [], factoryId).files,
      host: [site.transport.ssh].flat().join(', '),
      // One host may be named in several ways: a relay for each name, which leave each other alone.
      name: `${factoryId}-${place}`,
      runtime: boot.runtime,
      manager,
      certificate: readFileSync(boot.caFile, 'utf8'),
      ...{ address, port },
      cacheBytes: cache * 2 ** 20,
      throttle: createThrottle(site.bandwidth),
      file: join(stateFolder, 'relays', `${place}.json`),
      log,
    })
  }

  return {
    of(site) {
      const relayed = relayOf(site)
      if (!relayed || !isStarted(site)) return undefined
      const { place: key, settings } = relayed
      const known = kept.get(key)
      if (known?.settings === settings) return known.relay
      known?.relay.close()
      const relay = start(site, key)
      kept.set(key, { relay, settings })
      return relay
    },
    retain(sites) {
      const needed = new Set(sites.map((site) => relayOf(site)?.place))
      for (const [key, { relay }] of kept) {
        if (needed.has(key)) continue
        relay.close()
        kept.delete(key)
      }
    },
    [Symbol.dispose]() {
      for (const { relay } of kept.values()) relay.close()
    },
  }
}

type Started = Extract<SiteConfig, { transport?: unknown }> & {
  relay: Exclude<SiteConfig['relay'], string | undefined>
  transport: NonNullable<Extract<SiteConfig, { transport?: unknown }>['transport']>
}

const isStarted = (site: SiteConfig): site is Started =>
  site.relay !== undefined &&
  typeof site.relay !== 'string' &&
  site.kind !== 'local' &&
  site.transport !== undefined

const unusable = (trouble: string): SiteRelay => ({
  ready: () => Promise.reject(new RelayDown(trouble)),
  trouble,
  crossed: { fromManager: 0, toManager: 0 },
  close: () => {},
})
