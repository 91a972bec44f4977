import { join } from 'node:path'
import { type BatchSiteConfig, ConfigFile, resolveConfig } from '../../../../src/factory/config/config.ts'

/** A Slurm site whose submit node is the host `login` of an ssh_config. */
export function batchSiteAt(
  { config }: { config: string },
  folder: string,
  more: object = {},
): BatchSiteConfig {
  const transport = { ssh: 'login', config, folder: join(folder, 'far end'), ...more }
  const { sites } = resolveConfig(ConfigFile.parse({ sites: { far: { kind: 'slurm', transport } } }))
  return sites[0] as BatchSiteConfig
}
