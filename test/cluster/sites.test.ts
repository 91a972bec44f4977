import { after, before } from 'node:test'
import { markingWorker, siteSuite } from '../factory/sites/site-suite.ts'
import { type Common, commonPlace, htcondor, slurm } from './support/sites.ts'
import { run, sharedFolder } from './support/testbed.ts'

let shared: ReturnType<typeof sharedFolder>
let common: Common
before(async () => {
  shared = sharedFolder('sites')
  common = await commonPlace(shared.folder, markingWorker)
})
after(() => shared[Symbol.dispose]())

const patience = 90

siteSuite('slurm', () => ({
  ...common,
  ...slurm(common),
  patience,
  refused: slurm(common, { partition: 'there-is-none' }).open,
  neverStarts: slurm(common, { extraLines: ['#SBATCH --begin=now+1hour'] }).open,
  hold: (jobId) => run('researcher', 'scontrol', 'hold', jobId),
}))

siteSuite('htcondor', () => ({
  ...common,
  ...htcondor(common),
  patience,
  refused: htcondor(common, { extraLines: ['universe = there-is-none'] }).open,
  neverStarts: htcondor(common, { requirements: 'Machine == "nowhere"' }).open,
  hold: (jobId) => run('researcher', 'condor_hold', jobId),
}))
