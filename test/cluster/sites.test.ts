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
  imitate(factoryId, { folder }) {
    const name = `--job-name=gleaner-${factoryId}-cluster`
    const id = run(
      'boss',
      'sbatch',
      '--parsable',
      '--hold',
      name,
      `--chdir=${folder}`,
      '--wrap',
      'true',
    ).trim()
    return { [Symbol.dispose]: () => void run('boss', 'scancel', id) }
  },
}))

siteSuite('htcondor', () => ({
  ...common,
  ...htcondor(common),
  patience,
  refused: htcondor(common, { extraLines: ['universe = there-is-none'] }).open,
  neverStarts: htcondor(common, { requirements: 'Machine == "nowhere"' }).open,
  hold: (jobId) => run('researcher', 'condor_hold', jobId),
  imitate(factoryId, { pilots }) {
    const ours = { GleanerFactory: factoryId, GleanerSite: 'cluster', GleanerPilot: pilots[0] }
    const attributes = Object.entries(ours).map(([name, value]) => `MY.${name}="${value}"`)
    const command = ['executable=/bin/true', 'hold=true', ...attributes].join('\n')
    const said = run(
      'boss',
      'sh',
      '-c',
      `printf '%s\\nqueue\\n' "$1" | condor_submit -terse -`,
      'sh',
      command,
    )
    const id = said.trim().split(' ')[0]!
    return { [Symbol.dispose]: () => void run('boss', 'condor_rm', id) }
  },
}))
