import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import { dryRun } from '../../../src/factory/submissions/dry-run.ts'
import { TemplateError } from '../../../src/factory/submissions/submit-template.ts'

let root: string
before(() => void (root = mkdtempSync(join(tmpdir(), 'gleaner-dry-'))))
after(() => rmSync(root, { recursive: true }))

const boot = {
  managerUrl: 'https://submit:9700',
  runtime: {
    path: '/shared/runtime.tar.gz',
    sha256: 'a'.repeat(64),
    zstd: { path: '/shared/runtime.tar.zst', sha256: 'b'.repeat(64) },
  },
}
const show = async (site: object, count = 3) => {
  const config = resolveConfig(ConfigFile.parse({ sites: { gpu: site } }))
  const { files, command } = await dryRun(config, 'gpu', count, '/state folder', boot)
  return { ...Object.fromEntries(files.map(({ name, content }) => [name, content])), command } as Record<
    string,
    string
  > & { command: string[] }
}

const size = { cpus: 4, gpus: 2, memory: '16GB', disk: '10GB', walltime: '90m', grace: 30 }

describe('a dry run', () => {
  test('shows a Slurm job with everything a site can ask for', async () => {
    const shown = await show({
      kind: 'slurm',
      ...size,
      partition: 'low',
      account: 'proj-1',
      qos: 'idle',
      constraint: 'a100|h100',
      reservation: 'night',
      extraLines: ['#SBATCH --exclusive'],
    })
    const directives = shown['slurm.sh']!.split('\n').filter((line) => line.startsWith('#SBATCH'))
    for (const directive of [
      "--chdir='/state folder/submissions/gpu/dry-run'",
      '--array=0-2',
      '--cpus-per-task=4',
      '--mem=16384M',
      '--tmp=10240M',
      '--gres=gpu:2',
      '--time=90',
      '--partition=low',
      '--account=proj-1',
      '--qos=idle',
      "--constraint='a100|h100'",
      '--reservation=night',
      '--requeue',
      '--exclusive',
    ])
      assert.ok(directives.includes(`#SBATCH ${directive}`), `${directive} in\n${shown['slurm.sh']}`)
    assert.deepEqual(shown.command.slice(0, 2), ['sbatch', '--parsable'])
    assert.equal(shown['pilots'], 'p1\np2\np3\n')
  })

  test('shows an HTCondor job with everything a site can ask for', async () => {
    const shown = await show({
      kind: 'htcondor',
      ...size,
      requirements: 'CUDACapability >= 7.0',
      rank: 'Mips',
      concurrencyLimits: 'gleaner:2',
      attributes: { AccountingGroup: '"group_physics"' },
      extraLines: ['+MyLine = 1'],
    })
    const lines = shown['htcondor.sub']!.split('\n').map((line) => line.replace(/ +/g, ' '))
    for (const line of [
      'request_cpus = 4',
      'request_gpus = 2',
      'request_memory = 16384M',
      'request_disk = 10240M',
      'requirements = (CUDACapability >= 7.0)',
      'rank = Mips',
      'concurrency_limits = gleaner:2',
      'job_max_vacate_time = 30',
      'MY.GleanerFactory = "dry-run"',
      'MY.GleanerSite = "gpu"',
      'MY.AccountingGroup = "group_physics"',
      '+MyLine = 1',
      'queue Pilot from pilots',
    ])
      assert.ok(lines.includes(line), `${line} in\n${shown['htcondor.sub']}`)
    assert.equal(shown.command[0], 'condor_submit')
  })

  test('leaves out what a site does not ask for', async () => {
    const slurm = (await show({ kind: 'slurm' }))['slurm.sh']!
    assert.doesNotMatch(slurm, /--(gres|time|partition|account|qos|constraint|reservation|tmp|exclude)/)
    const htcondor = (await show({ kind: 'htcondor' }))['htcondor.sub']!
    assert.doesNotMatch(
      htcondor,
      /^(request_gpus|request_disk|requirements|rank|concurrency_limits|periodic_remove)/m,
    )
  })

  test('has every default line that a site turns off or replaces, and only once', async () => {
    const slurm = await show({
      kind: 'slurm',
      memory: 'none',
      gpus: 1,
      jobName: 'my-lab',
      options: {
        'mem-per-cpu': '4G',
        gres: 'gpu:a100:1',
        'open-mode': 'none',
        'cpus-per-task': 8,
        exclusive: true,
      },
    })
    const script = slurm['slurm.sh']!
    assert.ok(script.startsWith('#!/bin/sh\n'))
    const directives = script.split('\n').filter((line) => line.startsWith('#SBATCH'))
    for (const wanted of ['--mem-per-cpu=4G', '--gres=gpu:a100:1', '--cpus-per-task=8', '--exclusive'])
      assert.equal(
        directives.filter((line) => line.includes(wanted.split('=')[0]!)).join(),
        `#SBATCH ${wanted}`,
      )
    assert.ok(directives.includes('#SBATCH --job-name=my-lab-dry-run-gpu'))
    assert.ok(!directives.some((line) => /--(mem|open-mode)(=|$)/.test(line)))
    // The pilot takes what the batch system gives, and does not believe in a default.
    assert.doesNotMatch(slurm['pilot.env']!, /GLEANER_MEMORY_MB/)
    assert.doesNotMatch((await show({ kind: 'slurm', memory: 0 }))['pilot.env']!, /GLEANER_MEMORY_MB/)

    const condor = (
      await show({
        kind: 'htcondor',
        memory: 'none',
        options: { notification: 'Error', request_cpus: 'none' },
      })
    )['htcondor.sub']!
    assert.match(condor, /^notification = Error$/m)
    assert.doesNotMatch(condor, /^notification = never|^request_(cpus|memory)/m)
  })

  test('of options that a pilot would be lost without is refused, with what to set instead', () => {
    const options = (kind: string, name: string) => () =>
      ConfigFile.parse({ sites: { gpu: { kind, options: { [name]: 'x' } } } })
    assert.throws(options('slurm', 'job-name'), /use jobName/)
    assert.throws(options('slurm', 'array'), /submitSize: 1/)
    assert.throws(options('htcondor', 'Arguments'), /they name the pilot/)
  })

  test('shows settings and set-up, which are shell a node can read', async () => {
    const shown = await show({ kind: 'slurm', cacheFolder: '/scratch/$USER/g', setup: 'module load cuda\n' })
    const env = join(root, 'pilot.env')
    writeFileSync(env, shown['pilot.env']!)
    const names = ['MANAGER', 'CACHE', 'RUNTIME_FILE', 'RUNTIME_ZSTD_FILE', 'RUNTIME_ZSTD_SHA256']
    const script = `. ${env} && printf '%s\\n' ${names.map((name) => `"$GLEANER_${name}"`).join(' ')}`
    const said = execFileSync('/bin/sh', ['-c', script], { env: { USER: 'me' }, encoding: 'utf8' })
    assert.deepEqual(said.trim().split('\n'), [
      'https://submit:9700',
      '/scratch/me/g',
      '/shared/runtime.tar.gz',
      '/shared/runtime.tar.zst',
      'b'.repeat(64),
    ])
    assert.match(shown['setup.sh']!, /^module load cuda\n/)
  })

  test("uses the site's own template, and names what is wrong with it", async () => {
    const template = join(root, 'own.sh')
    writeFileSync(template, '#!/bin/sh\n#SBATCH -p {{ site.partition | shell }}\n')
    assert.match((await show({ kind: 'slurm', partition: 'x', template }))['slurm.sh']!, /#SBATCH -p x\n/)
    writeFileSync(template, '{{ site.partitoin }}')
    await assert.rejects(
      show({ kind: 'slurm', template }),
      (error) => error instanceof TemplateError && /own\.sh: .*site\.partitoin/.test(error.message),
    )
  })

  test('names the sites there are when asked for another, and writes nothing', async () => {
    const config = resolveConfig(ConfigFile.parse({ sites: { gpu: { kind: 'slurm' } } }))
    await assert.rejects(dryRun(config, 'cpu', 1, root, boot), /there is no site cpu: factory.yaml has gpu/)
    await dryRun(config, 'gpu', 1, root, boot)
    assert.ok(!existsSync(join(root, 'submissions')))
  })

  test('shell scripts are free of what shells disagree on', async () => {
    for (const shown of [await show({ kind: 'slurm', ...size }), await show({ kind: 'local' })])
      for (const [name, content] of Object.entries(shown))
        if (name.endsWith('.sh')) execFileSync('/bin/sh', ['-n'], { input: String(content) })
  })
})
