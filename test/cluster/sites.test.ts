import { join } from 'node:path'
import { after, before } from 'node:test'
import {
  ConfigFile,
  type HtcondorSiteConfig,
  type SlurmSiteConfig,
  resolveConfig,
} from '../../src/factory/config.ts'
import { htcondorSite } from '../../src/factory/sites/htcondor.ts'
import { slurmSite } from '../../src/factory/sites/slurm.ts'
import { type SiteHarness, markingWorker, siteSuite } from '../factory/site-suite.ts'
import { tinyRuntime } from '../factory/support/runtime.ts'
import { researcher, run, sharedFolder, subfolder } from './support/testbed.ts'

let shared: ReturnType<typeof sharedFolder>
let common: Pick<SiteHarness, 'siteFolder' | 'boot' | 'marks' | 'patience'>

before(async () => {
  shared = sharedFolder('sites')
  const runtime = await tinyRuntime(subfolder(shared.folder, 'runtime'), markingWorker)
  common = {
    siteFolder: subfolder(shared.folder, 'submissions'),
    boot: { managerUrl: 'http://127.0.0.1:9', runtime },
    marks: subfolder(shared.folder, 'marks'),
    patience: 90,
  }
})
after(() => shared[Symbol.dispose]())

function configOf<T>(kind: string, more: object): T {
  const site = {
    kind,
    cacheFolder: join(shared.folder, 'cache'),
    sharedFolder: join(shared.folder, 'marks'),
    memory: '128MB',
    walltime: '10m',
    grace: 5,
    ...more,
  }
  return resolveConfig(ConfigFile.parse({ sites: { cluster: site } })).sites[0] as T
}

siteSuite('slurm', () => {
  const open = (more: object) => (factory: string) =>
    slurmSite(configOf<SlurmSiteConfig>('slurm', more), factory, common.siteFolder, researcher())
  return {
    ...common,
    config: configOf('slurm', {}),
    open: open({ partition: 'low' }),
    refused: open({ partition: 'there-is-none' }),
    neverStarts: open({ extraLines: ['#SBATCH --begin=now+1hour'] }),
    hold: (jobId) => run('researcher', 'scontrol', 'hold', jobId),
  }
})

siteSuite('htcondor', () => {
  const open = (more: object) => (factory: string) =>
    htcondorSite(configOf<HtcondorSiteConfig>('htcondor', more), factory, researcher())
  return {
    ...common,
    config: configOf('htcondor', {}),
    open: open({}),
    refused: open({ extraLines: ['request_cpus = (((', 'universe = there-is-none'] }),
    neverStarts: open({ requirements: 'Machine == "nowhere"' }),
    hold: (jobId) => run('researcher', 'condor_hold', jobId),
  }
})
