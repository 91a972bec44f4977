import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { buildConnector } from 'undici'

/*
 * Every user of a machine may listen at a port of 127.0.0.1, also at one that a manager has left. Without TLS, which tells managers
 * apart, only what listens there for this user, for root, or for the owner of the factory's folder, is spoken to.
 */

/** Local addresses of sockets that speak to this machine, as the kernel writes them: 127.0.0.0/8, ::1, and any address. */
const LOOPBACK = /^(?:[\dA-F]{6}7F|0{8}|0{32}|0{24}01000000|0{16}FFFF0000(?:[\dA-F]{6}7F|0{8}))$/
const LISTENS = '0A'

/** The ends of a connection, by their ports. */
interface Ports {
  readonly local: number
  readonly remote: number
}

/**
 * The user that listens at the far end of a connection within this machine, or has taken it, and is not trusted.
 * @param table such as /proc/net/tcp or /proc/net/tcp6
 * @returns undefined if there is none
 */
export function foreignUser(
  table: string,
  { local, remote }: Ports,
  trusted: ReadonlySet<number>,
): number | undefined {
  for (const line of table.split('\n').slice(1)) {
    const [, own = '', far = '', state, , , , uid] = line.trim().split(/\s+/)
    const [address = '', port] = own.split(':')
    if (!LOOPBACK.test(address) || parseInt(port ?? '', 16) !== remote) continue
    const isOurs = state === LISTENS || parseInt(far.split(':')[1] ?? '', 16) === local
    if (isOurs && !trusted.has(Number(uid))) return Number(uid)
  }
  return undefined
}

/** @throws if another user than that listens at the far end of a connection to this very machine */
async function refuseForeign({ localPort = 0, remotePort = 0 }: Socket, owner: number): Promise<void> {
  // Only Linux has these tables, and a machine without IPv6 lacks the second.
  const read = (name: string) => readFile(`/proc/self/net/${name}`, 'utf8').catch(() => '')
  const trusted = new Set([0, process.getuid!(), owner])
  for (const table of [await read('tcp'), await read('tcp6')]) {
    const uid = foreignUser(table, { local: localPort, remote: remotePort }, trusted)
    if (uid !== undefined)
      throw new Error(
        `at port ${remotePort} of this machine, another user (uid ${uid}) listens, not the manager`,
      )
  }
}

const isLoopback = (host: string) => /^(127\.|\[?::1\]?$|localhost$)/.test(host)

export interface OwnListenerOptions {
  /** Told of what is connected to, which may be a proxy. */
  isManager?: (origin: string) => boolean
  /** The user whose manager it is. Root may speak to that of others. Default: this one. */
  owner?: number | undefined
}

/** How to connect to a manager: one that speaks no TLS, on this machine, must be its owner's. */
export function toOwnListener(
  options: buildConnector.BuildOptions,
  { isManager = () => true, owner = process.getuid!() }: OwnListenerOptions = {},
): buildConnector.connector {
  const connect = buildConnector(options)
  return (target, callback) => {
    const { protocol, host = '', hostname } = target
    const isChecked = protocol === 'http:' && isLoopback(hostname) && isManager(`${protocol}//${host}`)
    if (!isChecked) return connect(target, callback)
    connect(target, (error, socket) => {
      if (error) return callback(error, null)
      refuseForeign(socket, owner).then(
        () => callback(null, socket),
        (reason: Error) => {
          socket.destroy()
          callback(reason, null)
        },
      )
    })
  }
}
