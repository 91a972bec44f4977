import type { BatchSiteConfig } from '../config/config.ts'
import { controlSocket, isLoggedIn } from './ssh/control-socket.ts'
import { LoginNeeded } from './ssh/connection.ts'
import { existsSync } from 'node:fs'
import { type HostLink, hostLink } from './ssh/host-link.ts'
import { hostSettings } from './ssh/host-settings.ts'
import { openLogin } from './ssh/openssh-connection.ts'
import { openSsh2 } from './ssh/ssh2-connection.ts'
import { sshTransport } from './ssh/ssh-transport.ts'
import { localTransport } from './local-transport.ts'
import type { Transport } from './transport.ts'

type SshConfig = NonNullable<BatchSiteConfig['transport']>

/** The ways to the batch systems of sites: one connection for each submit node, however many sites it has. */
export interface Transports extends Disposable {
  /**
   * @param kept names of variables that the batch system's commands go by
   * @param factoryId keeps its files apart from those of other factories
   */
  of(site: BatchSiteConfig, kept: readonly string[], factoryId: string): Transport
  /** The connection to a site's submit node; undefined for one of this machine. */
  link(site: BatchSiteConfig): HostLink | undefined
}

/** Opens nothing yet: a connection is opened when it is needed. */
export function openTransports(stateFolder: string): Transports {
  const links = new Map<string, HostLink>()

  function linkOf({ name }: BatchSiteConfig, transport: SshConfig): HostLink {
    const key = JSON.stringify([[transport.ssh].flat(), transport.config, transport.login])
    const link = links.get(key) ?? makeLink(stateFolder, name, transport)
    links.set(key, link)
    return link
  }

  return {
    of(site, kept, factoryId) {
      const { transport, bandwidth, commandEnvironment: set } = site
      if (!transport) return localTransport({ kept, set })
      const link = linkOf(site, transport)
      const host = [transport.ssh].flat().join(', ')
      const { folder } = transport
      return sshTransport({ link, host, root: stateFolder, folder, factoryId, bandwidth, kept, set })
    },
    link: (site) => (site.transport ? linkOf(site, site.transport) : undefined),
    [Symbol.dispose]() {
      for (const link of links.values()) link.close()
    },
  }
}

function makeLink(stateFolder: string, site: string, { ssh, config, login }: SshConfig): HostLink {
  const targets = [ssh].flat()
  const controls = targets.map((target) => controlSocket(stateFolder, target, config))
  const advice = `log in: factory login ${site}`
  return hostLink({
    isInvited: () => controls.some(({ socket }) => existsSync(socket)),
    async open(attempt) {
      for (const control of controls) if (await isLoggedIn(control)) return await openLogin(control, advice)
      const target = targets[attempt % targets.length]!
      if (login) throw new LoginNeeded(`there is no login at ${target}, or it has expired: ${advice}`)
      const settings = hostSettings(target, config)
      const ways = [...settings.jumps.map((jump) => hostSettings(jump, config)), settings]
      return await openSsh2(ways).catch((error: unknown) => {
        if (!(error instanceof LoginNeeded)) throw error
        throw new LoginNeeded(`${error.message}; ${advice}`, { cause: error })
      })
    },
  })
}
