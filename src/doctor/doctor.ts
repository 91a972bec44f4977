import type { Config } from '../factory/config/config.ts'
import { ownCertificate } from '../manager/http/tls.ts'
import { lookAtAddress, type ManagerAddress } from './checks/address.ts'
import { askBatchSystem } from './checks/batch-system.ts'
import { readConfiguration } from './checks/configuration.ts'
import { lookAtMachine } from './checks/machine.ts'
import { lookAtFolder } from './checks/state-folder.ts'
import { type Finding, isProven, settle } from './policy/finding.ts'
import { judgeAddress, judgeServer } from './policy/judge-address.ts'
import type { ProbeOptions } from './probe/probe-site.ts'
import { judgeMachine } from './policy/judge-machine.ts'

export type { Finding } from './policy/finding.ts'

export interface DoctorOptions {
  state: string
  /** Only this site of the configuration. */
  site: string | undefined
  /** Where the manager of a configuration listens. */
  addressOf: (config: Config) => ManagerAddress
  /** Looks at what a site's compute nodes are like, too, by pilots that say it. */
  probe?: Pick<ProbeOptions, 'waitMs' | 'signal' | 'onDoing'> | undefined
}

/**
 * Looks at everything that a factory on a state folder needs, whether or not one runs, and says of each thing how it is.
 * @throws {UnknownSiteError} if the configuration has no such site
 */
export async function* examine({ state, site, addressOf, probe }: DoctorOptions): AsyncGenerator<Finding> {
  const { config, findings } = await readConfiguration(state)
  const sites = config?.sites.filter(({ name }) => site === undefined || name === site) ?? []
  if (config && site !== undefined && sites.length === 0) throw new UnknownSiteError(site, config)
  const folder = await lookAtFolder(state)
  yield* judgeMachine({ ...(await lookAtMachine()), ...folder })
  yield* findings
  if (!config) return
  const address = await lookAtAddress({ ...config, sites }, addressOf(config), state)
  yield* judgeServer(address)
  const isProbing = probe !== undefined && folder.unsafe === undefined
  if (!isProbing) yield* judgeAddress(address)
  if (folder.unsafe !== undefined) return
  const own = address.tls ? await ownCertificate(state, [new URL(address.url).hostname]) : undefined
  const boot = { managerUrl: address.url, ...(own && { caFile: own.certFile }) }
  const reachedFrom: string[] = []
  for (const each of sites) {
    const { listening, running, host, port } = address
    const isRunning = running !== 'no'
    const probed: Finding[] = []
    const doubted: Finding[] = []
    for await (const finding of askBatchSystem(config, each, state, boot))
      if (finding.ifNoneStarts && isProbing) doubted.push(finding)
      else yield settle(finding, { hasStarted: false })
    if (probe && (isRunning || listening === 'yes')) {
      // It brings along what packs the runtime.
      const { probeSite } = await import('./probe/probe-site.ts')
      const listen = { host, port }
      for await (const finding of probeSite({
        ...probe,
        site: each,
        state,
        boot,
        listen,
        isRunning,
        tls: own,
      })) {
        probed.push(finding)
        yield finding
      }
    }
    for (const finding of doubted) yield settle(finding, { hasStarted: isProven(probed, 'probe') })
    if (isProven(probed, 'probe-manager')) reachedFrom.push(each.name)
  }
  if (isProbing) yield* judgeAddress({ ...address, reachedFrom })
}

export class UnknownSiteError extends Error {
  override readonly name = 'UnknownSiteError'

  constructor(site: string, { sites }: Config) {
    super(`there is no site ${site}: factory.yaml has ${sites.map(({ name }) => name).join(', ') || 'none'}`)
  }
}
