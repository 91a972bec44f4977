import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ConfigFile, type PbsSiteConfig, resolveConfig } from '../../../src/factory/config/config.ts'
import { batchSite } from '../../../src/factory/sites/batch-site.ts'
import { pbs } from '../../../src/factory/sites/pbs.ts'
import { localTransport } from '../../../src/factory/transports/local-transport.ts'
import { tinyRuntime } from '../support/tiny-runtime.ts'
import { type SiteHarness, markingWorker, siteSuite } from './site-suite.ts'

const FAKE = join(import.meta.dirname, '../support/fake-pbs/fake-pbs.ts')
let harness: SiteHarness
let root: string

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'gleaner-pbs-'))
  const marks = join(root, 'marks')
  const bin = join(root, 'bin')
  for (const folder of [marks, bin]) mkdirSync(folder)
  for (const name of ['qsub', 'qstat', 'qselect', 'qdel']) {
    writeFileSync(join(bin, name), `#!/bin/sh\nexec '${process.execPath}' '${FAKE}' ${name} "$@"\n`)
    chmodSync(join(bin, name), 0o755)
  }
  const set = {
    PATH: `${bin}:${process.env['PATH']}`,
    FAKE_PBS: join(root, 'pbs'),
    FAKE_PBS_USER: userInfo().username,
  }
  const siteFolder = join(root, 'submissions')
  const at = (more: object) => {
    const file = { kind: 'pbs', cacheFolder: join(root, 'cache'), sharedFolder: marks, grace: 5, ...more }
    const config = resolveConfig(ConfigFile.parse({ sites: { here: file } })).sites[0] as PbsSiteConfig
    const open = (factoryId: string) => batchSite(pbs, config, factoryId, siteFolder, localTransport({ set }))
    return { config, open }
  }
  const as = (user: string, ...command: [string, ...string[]]) =>
    spawnSync(command[0], command.slice(1), { env: { ...process.env, ...set, FAKE_PBS_USER: user } })
  harness = {
    ...at({}),
    siteFolder,
    marks,
    patience: 20,
    boot: { managerUrl: 'http://127.0.0.1:9', runtime: await tinyRuntime(root, markingWorker) },
    refused: at({ queue: 'nowhere' }).open,
    neverStarts: at({ queue: 'never' }).open,
    hold(jobId) {
      const file = join(set.FAKE_PBS, 'jobs', `${jobId}.json`)
      writeFileSync(
        file,
        JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), held: true }),
      )
    },
    imitate(_factoryId, { folder }) {
      assert.equal(as('mallory', 'sh', '-c', `cd '${folder}' && qsub pbs.sh`).status, 0)
      return { [Symbol.dispose]: () => {} }
    },
  }
})
after(() => rmSync(root, { recursive: true, maxRetries: 5 }))

siteSuite('pbs', () => harness)

describe('answers of PBS', () => {
  const said = (text: string) => pbs.refusal.definite.test(text) && !pbs.refusal.open.test(text)

  test('are a no, or leave open what became of the jobs', () => {
    assert.ok(said('qsub: Unknown queue'))
    assert.ok(said('qsub: Job exceeds queue and/or server resource limits'))
    assert.ok(said('qsub: would exceed queue generic’s per-user limit of jobs in Q state'))
    assert.ok(!said('Connection timed out qsub: cannot connect to server pbs (errno=110)'))
    assert.ok(!said('qsub: End of File'))
  })

  test('name the jobs by their pilots’ places', () => {
    assert.deepEqual(pbs.jobIds('12[].pbs\n', 2), ['12[0].pbs', '12[1].pbs'])
    assert.deepEqual(pbs.jobIds('welcome\n12.pbs\n', 1), ['12.pbs'])
    assert.equal(pbs.jobIds('12.pbs\n', 2), undefined)
  })

  test('that are no JSON, or hold a record that cannot be read, are reported and never proof of an end', () => {
    const broken = pbs.jobs('{"Jobs": {"1.pbs": {"comment": "a \\q"}', [])
    assert.equal(broken.complete, false)
    assert.match(broken.oddities.join(), /no JSON/)
    const odd = pbs.jobs(
      '** {banner} **\n{"Jobs":{"1.pbs":{"job_state":null},"2.pbs":{"job_state":"?"}}}\n** bye {} **\n',
      [],
    )
    assert.equal(odd.complete, false)
    assert.deepEqual(
      odd.jobs.map(({ jobId, state }) => [jobId, state]),
      [['2.pbs', 'unknown']],
    )
  })
})
