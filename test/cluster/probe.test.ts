import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { jsonShapes } from '../../src/cli/json-output/json-shapes.ts'
import { inside, run, sharedFolder, subfolder, testbed } from './support/testbed.ts'

/** Runs a doctor as the researcher. It exits with 3 if there are warnings, as there are on nodes that lack things. */
function probe(state: string): Promise<ReturnType<(typeof jsonShapes)['factory doctor']['parse']>> {
  const node = join(testbed.project, 'node_modules/.bin/node')
  const command = [
    node,
    join(testbed.project, 'bin/factory.js'),
    '--state',
    state,
    'doctor',
    '--probe',
    '--json',
  ]
  const [file, ...args] = inside('researcher', ...command) as [string, ...string[]]
  return new Promise((resolve, reject) => {
    execFile(file, args, { maxBuffer: 1 << 24 }, (error, stdout) => {
      if (stdout === '') reject(error ?? new Error('it printed nothing'))
      else resolve(jsonShapes['factory doctor'].parse(JSON.parse(stdout)))
    })
  })
}

test('a doctor learns from pilots on nodes of both systems what those are like, and leaves nothing in the queues', async () => {
  using shared = sharedFolder('probe')
  const state = subfolder(shared.folder, 'state')
  const common = { memory: '256MB', walltime: '10m', grace: 4, cacheFolder: join(shared.folder, 'cache') }
  const sites = {
    slurm: { kind: 'slurm', count: 2, partition: 'low', ...common },
    htcondor: { kind: 'htcondor', count: 2, ...common },
  }
  writeFileSync(join(state, 'factory.yaml'), JSON.stringify({ manager: { listen: '127.0.0.1:0' }, sites }))
  run('root', 'chown', '-R', `${testbed.uid}:${testbed.gid}`, shared.folder)

  const { findings } = await probe(state)
  for (const site of ['slurm', 'htcondor']) {
    const of = (check: string) => findings.filter((one) => one.site === site && one.check === check)
    for (const check of ['probe', 'probe-manager', 'probe-peer', 'probe-clock', 'probe-engine'])
      assert.ok(
        of(check).length > 0 && of(check).every(({ verdict }) => verdict === 'ok'),
        `${site} ${check}: ${JSON.stringify(findings.filter((one) => one.site === site))}`,
      )
    const [grace] = of('probe-grace')
    assert.match(grace!.text, /gets SIGTERM, and/, JSON.stringify(grace))
  }
  assert.doesNotMatch(run('researcher', 'squeue', '--me', '--noheader', '--format=%j'), /doctor-/)
  const left = run(
    'researcher',
    'condor_q',
    '-constraint',
    'regexp("^doctor-", GleanerFactory)',
    '-af',
    'ClusterId',
  )
  assert.equal(left.trim(), '')
})
