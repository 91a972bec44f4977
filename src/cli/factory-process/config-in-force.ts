import { join } from 'node:path'
import PQueue from 'p-queue'
import type { Logger } from 'pino'
import { InputError } from '../../client/errors.ts'
import type { Config } from '../../factory/config/config.ts'
import { configFiles, loadConfig } from '../../factory/config/load-config.ts'
import { configChanges } from '../../factory/policy/config-changes.ts'
import type { ReloadResponse } from '../../protocol/client.ts'

/** The configuration that a running factory goes by: as read at the start, and with the sites of each reload since. */
export class ConfigInForce {
  readonly #state: string
  readonly #reloading = new PQueue({ concurrency: 1 })
  #config: Config

  /** Reads the configuration of a state folder. @throws ConfigError, InputError */
  constructor(state: string) {
    this.#state = state
    this.#config = loadSites(state)
  }

  get config(): Config {
    return this.#config
  }

  site(name: string): Config['sites'][number] | undefined {
    return this.#config.sites.find((site) => site.name === name)
  }

  /** Reads it again, and hands it to `apply`. @throws ConfigError, InputError, or what `apply` throws; the old one stays then */
  reload(apply: (next: Config) => Promise<void>, log: Logger): Promise<ReloadResponse> {
    return this.#reloading.add(async () => {
      const next = loadSites(this.#state)
      const { applies, restart } = configChanges(this.#config, next)
      await apply(next)
      // What takes a restart stays as it is, and stays to be told.
      this.#config = { ...this.#config, sites: next.sites }
      log.info({ applies, restart }, 'read the configuration again')
      return { applies, restart }
    })
  }

  /** What of the configuration on disk is not in force, for the user. */
  notice(): string | undefined {
    try {
      const { applies, restart } = configChanges(this.#config, loadConfig(configFiles(this.#state)))
      if (applies.length > 0)
        return `factory.yaml has changed (${applies.join('; ')}): "factory reload" puts it in force`
      if (restart.length > 0)
        return `factory.yaml has changed (${restart.join('; ')}): a restart puts it in force`
      return undefined
    } catch (error) {
      return `factory.yaml has changed and is not valid: ${(error as Error).message}`
    }
  }
}

function loadSites(state: string): Config {
  const config = loadConfig(configFiles(state))
  if (config.sites.length > 0) return config
  throw new InputError(
    `no site is configured: "factory init" writes ${join(state, 'factory.yaml')} to begin with`,
  )
}
