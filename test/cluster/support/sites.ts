import { join } from 'node:path'
import {
  ConfigFile,
  type HtcondorSiteConfig,
  type SlurmSiteConfig,
  resolveConfig,
} from '../../../src/factory/config/config.ts'
import { batchSite } from '../../../src/factory/sites/batch-site.ts'
import { htcondor as htcondorKind } from '../../../src/factory/sites/htcondor.ts'
import { slurm as slurmKind } from '../../../src/factory/sites/slurm.ts'
import { tinyRuntime } from '../../factory/support/tiny-runtime.ts'
import type { Place } from '../../factory/support/write-submission.ts'
import { researcher, subfolder } from './testbed.ts'

/** What sites of the testbed have in common: folders the nodes see, and a stand-in for the worker. */
export type Common = Omit<Place, 'config'> & { marks: string; cache: string }

export async function commonPlace(folder: string, worker: string): Promise<Common> {
  const runtime = await tinyRuntime(subfolder(folder, 'runtime'), worker)
  return {
    siteFolder: subfolder(folder, 'submissions'),
    boot: { managerUrl: 'http://127.0.0.1:9', runtime },
    marks: subfolder(folder, 'marks'),
    cache: join(folder, 'cache'),
  }
}

function configOf(kind: string, { marks, cache }: Common, more: object) {
  const size = { memory: '128MB', walltime: '10m', grace: 5 }
  const site = { kind, cacheFolder: cache, sharedFolder: marks, ...size, ...more }
  return resolveConfig(ConfigFile.parse({ sites: { cluster: site } })).sites[0]!
}

/** A Slurm site of the testbed, with the queue as the factory of that id sees it. */
export function slurm(common: Common, more: object = {}) {
  const config = configOf('slurm', common, { partition: 'low', ...more }) as SlurmSiteConfig
  return { config, open: (id: string) => batchSite(slurmKind, config, id, common.siteFolder, researcher()) }
}

/** The same for HTCondor. */
export function htcondor(common: Common, more: object = {}) {
  const config = configOf('htcondor', common, more) as HtcondorSiteConfig
  return {
    config,
    open: (id: string) => batchSite(htcondorKind, config, id, common.siteFolder, researcher()),
  }
}
