import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, test } from 'node:test'
import {
  ConfigFile,
  type HtcondorSiteConfig,
  type SlurmSiteConfig,
  resolveConfig,
} from '../../../src/factory/config/config.ts'
import { batchSite } from '../../../src/factory/sites/batch-site.ts'
import { htcondor } from '../../../src/factory/sites/htcondor.ts'
import { SubmitRefused } from '../../../src/factory/sites/site.ts'
import { slurm } from '../../../src/factory/sites/slurm.ts'
import { localFiles } from '../../../src/factory/transports/local-files.ts'
import type { CommandResult } from '../../../src/factory/transports/transport.ts'
import { prepare } from '../support/write-submission.ts'

const signal = AbortSignal.timeout(600_000)
const boot = { managerUrl: 'http://127.0.0.1:9', runtime: { path: '/nowhere', sha256: '0'.repeat(64) } }

type Answer = Partial<CommandResult>
type Answers = Record<string, Answer | ((args: string[]) => Answer)>

/** A site whose commands answer like those of a real batch system that is, at the moment, like this. */
function siteThat(t: TestContext, kind: 'slurm' | 'htcondor', answers: Answers, more: object = {}) {
  const siteFolder = mkdtempSync(join(tmpdir(), 'gleaner-site-'))
  t.after(() => rmSync(siteFolder, { recursive: true }))
  const config = resolveConfig(ConfigFile.parse({ sites: { c: { kind, count: 100, ...more } } })).sites[0]!
  const commands: string[][] = []
  answers['id'] = { stdout: 'me\n' }
  const transport = {
    files: localFiles,
    run([name = '', ...args]: readonly string[]) {
      commands.push([name, ...args])
      const answer = answers[name]
      const {
        code = 0,
        stdout = '',
        stderr = '',
      } = typeof answer === 'function' ? answer(args) : (answer ?? {})
      return Promise.resolve({ code, stdout, stderr })
    },
  }
  const site =
    kind === 'slurm'
      ? batchSite(slurm, config as SlurmSiteConfig, 'f', siteFolder, transport)
      : batchSite(htcondor, config as HtcondorSiteConfig, 'f', siteFolder, transport)
  const submission = (pilots: string[]) => prepare(site, { config, siteFolder, boot }, pilots)
  return { site, submission, commands, list: () => site.list(signal) }
}

const pilots = (count: number) => Array.from({ length: count }, (_, index) => `p${index + 1}`)

describe('a Slurm queue', () => {
  const row = (folder: string, id: string, state: string, index = '0', reason = 'None') =>
    `gleaner|${id}|${state}|n1|${index}|${reason}|${folder}\n`

  test('is asked for this user’s jobs only', async (t) => {
    const { commands, list } = siteThat(t, 'slurm', {})
    await list()
    assert.ok(commands.at(-1)?.includes('--me'))
  })

  test('is read beside what a wrapper prints, which is reported', async (t) => {
    let stdout = ''
    const { submission, list } = siteThat(t, 'slurm', { squeue: () => ({ stdout }) })
    const { folder } = await submission(['p1'])
    stdout = `*** Maintenance | on | Monday | and | Tuesday ***\n${row(folder, '12', 'RUNNING', 'N/A')}`
    const { jobs, complete, oddities } = await list()
    assert.deepEqual(jobs, [{ jobId: '12', pilot: 'p1', state: 'running', node: 'n1' }])
    assert.equal(complete, true)
    assert.match(oddities.join(), /not understood: .*Maintenance/)
  })

  test('with a record that cannot be read is not complete, and the others are read', async (t) => {
    let stdout = ''
    const { submission, list } = siteThat(t, 'slurm', { squeue: () => ({ stdout }) })
    const { folder } = await submission(['p1', 'p2'])
    stdout = row(folder, '12_0', 'RUNNING') + row(folder, '12_[1]', 'PENDING') + row(folder, '', '')
    const { jobs, complete, oddities } = await list()
    assert.deepEqual(
      jobs.map(({ pilot }) => pilot),
      ['p1'],
    )
    assert.equal(complete, false)
    assert.equal(oddities.length, 2)
  })

  test('takes jobs in unknown states for alive', async (t) => {
    let stdout = ''
    const { submission, list } = siteThat(t, 'slurm', { squeue: () => ({ stdout }) })
    const { folder } = await submission(pilots(4))
    const states = ['RESIZING', 'POWER_UP_NODE', 'EXPEDITING', 'NODE_FAIL']
    stdout = states.map((state, index) => row(folder, `12_${index}`, state, String(index))).join('')
    const { jobs, oddities } = await list()
    assert.deepEqual(
      jobs.map(({ state }) => state),
      ['running', 'running', 'unknown', 'ended'],
    )
    assert.match(oddities.join(), /EXPEDITING/)
  })

  test('of the cluster that the job script names is listed, and jobs are removed there', async (t) => {
    let stdout = ''
    const answers = { squeue: () => ({ stdout }), sbatch: { stdout: '12;beta\n' } }
    const more = { extraLines: ['#SBATCH --clusters=alpha,beta'] }
    const { site, submission, commands, list } = siteThat(t, 'slurm', answers, more)
    const some = await submission(['p1', 'p2'])
    const submitted = await site.submit(some, signal)
    assert.deepEqual(submitted[1], { pilot: 'p2', jobId: '12_1;beta' })
    stdout = `CLUSTER: alpha\nCLUSTER: beta\n${row(some.folder, '12_0', 'PENDING')}${row(some.folder, '12_1', 'PENDING', '1')}`
    const { jobs, oddities } = await list()
    assert.deepEqual(oddities, [])
    assert.deepEqual(
      jobs.map(({ jobId }) => jobId),
      submitted.map(({ jobId }) => jobId),
    )
    assert.ok(commands.at(-1)?.includes('--clusters=alpha,beta'))
    await site.remove(jobs, { unlessRunning: false, signal })
    assert.deepEqual(commands.at(-1), ['scancel', '--quiet', '--clusters=beta', '12_0', '12_1'])
  })

  test('of another cluster is said by -M as well', async (t) => {
    const { commands, list } = siteThat(t, 'slurm', {}, { extraLines: ['#SBATCH -M gamma'] })
    await list()
    assert.ok(commands.at(-1)?.includes('--clusters=gamma'))
  })
})

describe('a submission to Slurm', () => {
  const failed = (reason: string) => ({
    code: 1,
    stderr: `sbatch: error: Batch job submission failed: ${reason}\n`,
  })

  const unclear: Answer[] = [
    failed('Socket timed out on send/recv operation'),
    failed('Zero Bytes were transmitted or received'),
    failed('Unable to contact slurm controller (connect failure)'),
    { code: 1, stderr: 'our wrapper does not know either\n' },
    { code: -1, stderr: '' },
    { code: 0, stdout: 'Submitted, thank you\n' },
  ]
  for (const said of unclear)
    test(`may have been taken when the answer is ${JSON.stringify(said.stderr ?? said.stdout)}`, async (t) => {
      const { site, submission } = siteThat(t, 'slurm', { sbatch: said })
      await assert.rejects(
        site.submit(await submission(['p1']), signal),
        (error) => error instanceof Error && !(error instanceof SubmitRefused),
      )
    })

  test('was not taken when the answer is a no', async (t) => {
    for (const reason of ['Invalid partition name specified', 'Unspecified error']) {
      const { site, submission } = siteThat(t, 'slurm', { sbatch: failed(reason) })
      await assert.rejects(site.submit(await submission(['p1']), signal), SubmitRefused)
    }
  })

  test('of one pilot is no array, which not every site allows', async (t) => {
    const { site, submission } = siteThat(t, 'slurm', { sbatch: { stdout: '7\n' } })
    const one = await submission(['p1'])
    assert.doesNotMatch(site.render(one).content, /array=/)
    assert.deepEqual(await site.submit(one, signal), [{ pilot: 'p1', jobId: '7' }])
    assert.ok(existsSync(join(one.folder, 'logs')))
  })

  test('that is larger than arrays may be teaches how large they may be', async (t) => {
    const answers = {
      sbatch: failed('Invalid job array specification'),
      scontrol: {
        stdout: 'MaxArraySize            = 11\nSchedulerParameters     = defer,max_array_tasks=9\n',
      },
    }
    const { site, submission } = siteThat(t, 'slurm', answers)
    assert.equal(site.largest, Infinity)
    const refused = (error: unknown) => error instanceof SubmitRefused && error.tooMany
    await assert.rejects(site.submit(await submission(pilots(30)), signal), refused)
    assert.equal(site.largest, 9)
    // And where arrays are refused whatever their size, pilots go one by one.
    await assert.rejects(site.submit(await submission(pilots(9)), signal), refused)
    assert.equal(site.largest, 1)
  })

  test('of more than a user may have is too many, unless it is one', async (t) => {
    const limit = failed(
      "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    )
    const { site, submission } = siteThat(t, 'slurm', { sbatch: limit })
    for (const count of [8, 1])
      await assert.rejects(
        site.submit(await submission(pilots(count)), signal),
        (error) => error instanceof SubmitRefused && error.tooMany === count > 1,
      )
  })
})

test('a check asks the batch system without submitting anything, and passes on its no', async (t) => {
  const no = 'allocation failure: Invalid partition name specified'
  const { site, submission, commands } = siteThat(t, 'slurm', { sbatch: { code: 1, stderr: no } })
  assert.deepEqual(await site.check(await submission(['p1']), signal), { accepted: false, said: no })
  assert.ok(commands.at(-1)?.includes('--test-only'))
})

describe('removing jobs', () => {
  test('goes on after one that cannot be removed, and names it', async (t) => {
    const denied = 'scancel: error: Kill job error on job id 8_0: Access/permission denied\n'
    const gone = 'scancel: error: Kill job error on job id 9_0: Invalid job id specified\n'
    let stderr = gone
    const { site } = siteThat(t, 'slurm', { scancel: () => ({ code: 1, stderr }) })
    const remove = () =>
      site.remove([{ jobId: '8_0', pilot: 'p8', state: 'held' }], { unlessRunning: false, signal })
    await remove()
    stderr = gone + denied
    await assert.rejects(remove(), /8_0: Access\/permission denied/)
  })

  test('of HTCondor names the very jobs, so that no other is meant', async (t) => {
    const { site, commands } = siteThat(t, 'htcondor', {})
    const job = (jobId: string) => ({ jobId, pilot: 'p', state: 'pending' as const })
    await site.remove([job('3.0'), job('3.1'), job('5.7')], { unlessRunning: true, signal })
    assert.deepEqual(commands[0], [
      'condor_rm',
      '-constraint',
      '((ClusterId == 3 && member(ProcId, {0, 1})) || (ClusterId == 5 && member(ProcId, {7}))) && (JobStatus == 1 || JobStatus == 5)',
    ])
  })
})

describe('an HTCondor queue', () => {
  const ad = (more: object) => ({ ClusterId: 3, ProcId: 0, JobStatus: 2, GleanerPilot: 'p1', ...more })
  const answer = (...ads: unknown[]) => ({
    stdout: `[\n${ads.map((one) => JSON.stringify(one)).join('\n,\n')}\n]\n`,
  })

  test('is asked for this user’s jobs only', async (t) => {
    const { commands, list } = siteThat(t, 'htcondor', {})
    assert.deepEqual(await list(), { jobs: [], complete: true, oddities: [] })
    assert.match(commands.at(-1)?.join(' ') ?? '', /-constraint Owner == "me" && /)
    const named = siteThat(t, 'htcondor', {}, { owner: 'alice' })
    await named.list()
    assert.match(named.commands.at(-1)?.join(' ') ?? '', /Owner == "alice"/)
  })

  test('has odd records, which are alive, and do not hide the others', async (t) => {
    const ads = [
      ad({ HoldReason: null, RemoteHost: null, JobStatus: 5 }),
      ad({ ProcId: 1, JobStatus: 'Running', GleanerPilot: 'p2' }),
      ad({ ProcId: 2, GleanerPilot: 17 }),
      { ClusterId: 3 },
    ]
    const { list } = siteThat(t, 'htcondor', { condor_q: answer(...ads) })
    const { jobs, complete, oddities } = await list()
    assert.deepEqual(jobs, [
      { jobId: '3.0', pilot: 'p1', state: 'held' },
      { jobId: '3.1', pilot: 'p2', state: 'unknown' },
      { jobId: '3.2', pilot: 'unknown-3.2', state: 'running' },
    ])
    assert.equal(complete, false)
    assert.equal(oddities.length, 2)
  })

  test('is read beside what a wrapper prints', async (t) => {
    const { stdout } = answer(ad({}))
    const { list } = siteThat(t, 'htcondor', {
      condor_q: { stdout: `Welcome [to] the pool!\n[INFO] connected\n${stdout}[INFO] bye {}\n` },
    })
    const { jobs, oddities } = await list()
    assert.equal(jobs.length, 1)
    assert.match(oddities.join(), /Welcome .*INFO/)
    for (const stdout of ['[WARN] {slow} schedd\n', '[WARN] slow\n[]\n', '[INFO]\n[\n]\n']) {
      const empty = siteThat(t, 'htcondor', { condor_q: { stdout } })
      assert.deepEqual((await empty.list()).jobs, [], stdout)
    }
  })

  test('that is cut short is no answer', async (t) => {
    for (const stdout of [
      '[\n{"ClusterId": 3,',
      '[\n',
      '[INFO]\n[{"ClusterId": 3}',
      '{"ClusterId": 3}\n]\n',
    ]) {
      const { list } = siteThat(t, 'htcondor', { condor_q: { stdout } })
      await assert.rejects(list(), Error, stdout)
    }
  })
})

describe('a submission to HTCondor', () => {
  test('may have been taken when its end was lost, and was not when it says so', async (t) => {
    const open = ['ERROR: Failed to commit job submission into the queue.', 'Terminated']
    const no = ['ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER', 'ERROR: unknown universe']
    for (const stderr of [...open, ...no]) {
      const { site, submission } = siteThat(t, 'htcondor', { condor_submit: { code: 1, stderr } })
      const some = await submission(['p1', 'p2'])
      const error: unknown = await site.submit(some, signal).catch((error: unknown) => error)
      assert.equal(error instanceof SubmitRefused, no.includes(stderr), stderr)
      if (error instanceof SubmitRefused) assert.equal(error.tooMany, /exceed/.test(stderr))
    }
  })
})
