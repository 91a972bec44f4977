import { getProxyForUrl } from 'proxy-from-env'
import { SocksClient, type SocksProxy } from 'socks'
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent, type Pool } from 'undici'
import { bareHost } from '../../common/plain/bare-host.ts'
import { toOwnListener } from '../../common/listener-owner.ts'
import { trustOnlyCertificate } from '../../common/tls-pinning.ts'

export interface ManagerConnectionsOptions {
  /** Addresses of one manager. */
  origins: readonly string[]
  /** The manager's certificate, PEM: no other is trusted, whatever name it was reached by. */
  certificate: string | undefined
  /** Longest that a connection may take to open, milliseconds. */
  timeout: number
}

/**
 * Makes connections to a manager, through the proxy that the environment names for it: one for HTTP, or for SOCKS.
 */
export function createManagerConnections(
  { origins, certificate, timeout }: ManagerConnectionsOptions,
  given: Pool.Options & { proxyTunnel?: boolean },
): Dispatcher {
  const pinned = { timeout, ...(certificate !== undefined && trustOnlyCertificate(certificate)) }
  const connect =
    certificate === undefined
      ? toOwnListener(pinned, { isManager: (origin) => origins.includes(origin) })
      : buildConnector(pinned)
  if (origins.some((origin) => isSocks(proxyOf(origin)))) {
    const connectBySocks = throughSocks(connect, buildConnector(pinned), timeout)
    return new Agent({ ...given, connect: connectBySocks })
  }
  const [httpProxy, httpsProxy] = ['http_proxy', 'https_proxy'].map(
    (name) => named(name) || named('all_proxy'),
  )
  if (!httpProxy && !httpsProxy) return new Agent({ ...given, connect })
  const proxies = { ...(httpProxy && { httpProxy }), ...(httpsProxy && { httpsProxy }) }
  return new EnvHttpProxyAgent({ ...given, ...proxies, connect, requestTls: pinned })
}

const named = (name: string) => process.env[name] || process.env[name.toUpperCase()]

/** A proxy that is named for plain HTTP alone is used for HTTPS, too. */
const proxyOf = (origin: string) =>
  getProxyForUrl(origin) || getProxyForUrl(origin.replace(/^https:/, 'http:'))

const isSocks = (proxy: string) => /^socks/i.test(proxy)

/** Connects through the SOCKS proxy of an address, or directly where the environment names none for it. */
function throughSocks(
  direct: buildConnector.connector,
  overTls: buildConnector.connector,
  timeout: number,
): buildConnector.connector {
  return (target, callback) => {
    const { protocol, hostname, port } = target
    const proxy = proxyOf(`${protocol}//${target.host ?? hostname}`)
    if (!isSocks(proxy)) return direct(target, callback)
    const destination = {
      host: bareHost(hostname),
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
    }
    SocksClient.createConnection({ proxy: parseProxy(proxy), command: 'connect', destination, timeout }).then(
      ({ socket }) => {
        socket.setNoDelay(true)
        if (protocol === 'https:') overTls({ ...target, httpSocket: socket }, callback)
        else callback(null, socket)
      },
      ({ message }: Error) => callback(new Error(`the proxy ${withoutSecrets(proxy)}: ${message}`), null),
    )
  }
}

function parseProxy(text: string): SocksProxy {
  const { protocol, hostname, port, username, password } = new URL(text)
  const type = /^socks4a?:$/.test(protocol) ? 4 : 5
  return {
    ...{ host: hostname.replace(/^\[(.+)\]$/, '$1'), port: Number(port) || 1080, type },
    ...(username !== '' && { userId: decodeURIComponent(username), password: decodeURIComponent(password) }),
  }
}

const withoutSecrets = (proxy: string) => proxy.replace(/\/\/[^@/]*@/, '//')
