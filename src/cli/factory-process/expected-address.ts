import { hostname } from 'node:os'
import { bareHost } from '../../common/plain/bare-host.ts'
import { type Config, relaysByHand } from '../../factory/config/config.ts'
import { isLoopback, isWildcard } from '../../manager/http/tls.ts'

/** Where the manager of a configuration is told to listen. */
export function listenAddress({ manager }: Pick<Config, 'manager'>): { host: string; port: number } {
  const colon = manager.listen.lastIndexOf(':')
  return { host: bareHost(manager.listen.slice(0, colon)), port: Number(manager.listen.slice(colon + 1)) }
}

/** The URL that pilots will be told, as far as the configuration decides it. */
export function expectedUrl(config: Pick<Config, 'manager' | 'sites'>): { url: string; tls: boolean } {
  const { host, port } = listenAddress(config)
  const tls =
    !isLoopback(host) || config.sites.some(({ relay }) => relay !== undefined && typeof relay !== 'string')
  const reached = isWildcard(host) ? hostname() : host
  const own = `${tls ? 'https' : 'http'}://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
  return { url: config.manager.url ?? own, tls }
}

/**
 * What pilots on other machines, and relays there, cannot reach, for the user: one line for each such site.
 * @param url what its pilots are told
 */
export function unreachable(config: Pick<Config, 'manager' | 'sites'>, url: string): string[] {
  const host = bareHost(new URL(url).hostname)
  if (!isLoopback(host) && !isWildcard(host)) return []
  const { port } = listenAddress(config)
  const setting = config.manager.url === url ? 'manager.url' : `manager.listen, e.g. 0.0.0.0:${port || 9700},`
  const direct = config.sites
    .filter(({ kind, relay }) => kind !== 'local' && relay === undefined)
    .map(
      ({ name }) =>
        `site ${name}: no other machine can reach the manager at ${url}, so pilots there will find nothing; ` +
        `set ${setting} to an address that its nodes can dial`,
    )
  const relayed = relaysByHand(config)
    .filter((relay) => !isLoopback(relay.host))
    .map(
      (relay) =>
        `site ${relay.name}: its relay at ${relay.host} can reach the manager at ${url} only if it runs on this machine; ` +
        `else set ${setting} to an address that the relay can dial`,
    )
  return [...direct, ...relayed]
}
