import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Finding } from '../../src/doctor/doctor.ts'
import { listen } from '../support/listen.ts'
import { factory } from './cli.ts'

/** A state folder with a configuration, and a folder of commands that stand in front of the system's. */
async function setup(config: string, commands: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'gleaner-doctor-'))
  const [state, bin] = [join(folder, 'state'), join(folder, 'bin')]
  await mkdir(state, { mode: 0o700 })
  await mkdir(bin)
  await writeFile(join(state, 'factory.yaml'), config)
  for (const [name, script] of Object.entries(commands)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`)
    await chmod(join(bin, name), 0o755)
  }
  const env = { PATH: `${bin}:${process.env['PATH']}`, GLEANER_CONFIG_DIRS: folder, XDG_CONFIG_HOME: folder }
  const doctor = (...args: string[]) => factory(['doctor', ...args], { state, env })
  const findings = async (...args: string[]) => {
    const { code, stdout, stderr } = await doctor('--json', ...args)
    assert.notEqual(stdout, '', stderr)
    return { code, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings }
  }
  return { state, doctor, findings, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}

const wrong = (findings: Finding[]) =>
  findings
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ check, site }) => [site, check].filter(Boolean).join(' '))

describe('factory doctor', () => {
  test('finds nothing wrong with a configuration for this machine, and leaves nothing behind', async () => {
    await using here = await setup('sites: { here: { kind: local } }')
    const { code, findings } = await here.findings()
    // What this machine itself is like is not the test's to say.
    assert.ok(
      wrong(findings).every((check) => /^(open-files|state-folder|clock)$/.test(check)),
      JSON.stringify(findings),
    )
    assert.ok(code === 0 || code === 3, String(code))
    const { stdout } = await here.doctor('--quiet', 'here')
    assert.doesNotMatch(stdout, /^ok/m)
  })

  test('names the line of a configuration that is wrong, and exits with 1', async () => {
    await using here = await setup('sites:\n  here:\n    kind: local\n    cuont: 2\n')
    const { code, findings } = await here.findings()
    const [found] = findings.filter(({ check }) => check === 'configuration')
    assert.match(found!.text, /factory\.yaml:4: unknown key sites\.here\.cuont; did you mean count\?/)
    assert.equal(code, 1)
  })

  test('finds batch systems that are not there, and an address that nodes cannot dial', async () => {
    await using here = await setup('sites: { a: { kind: slurm }, b: { kind: htcondor } }', {
      sbatch: 'exit 127',
      condor_version: 'exit 127',
    })
    const { code, findings } = await here.findings()
    assert.equal(code, 1)
    for (const expected of ['a batch-commands', 'b batch-commands', 'address'])
      assert.ok(wrong(findings).includes(expected), expected)
    const one = await here.findings('b')
    assert.ok(!wrong(one.findings).includes('a batch-commands'))
  })

  test('finds what the batch system would refuse, in its own words', async () => {
    await using here = await setup('sites: { a: { kind: slurm, partition: gpu, walltime: 1h } }', {
      sbatch:
        'if [ "$1" = --version ]; then echo slurm 24.11.5; else echo "allocation failure: Invalid account" >&2; exit 1; fi',
      squeue: 'exit 0',
      scontrol:
        'case $* in ping) echo "Slurmctld(primary) at h is UP" ;; *config) echo "MaxArraySize = 1001" ;; *) echo "PartitionName=gpu State=UP MaxTime=1:00:00" ;; esac',
      sacctmgr: 'exit 1',
    })
    const { findings } = await here.findings('a')
    const submission = findings.find(({ check }) => check === 'submission')!
    assert.match(submission.text, /It would not take a pilot: allocation failure: Invalid account/)
    assert.ok(findings.some(({ check, verdict }) => check === 'slurm-partition' && verdict === 'ok'))
  })

  test('finds a port that is taken, and refuses a site that is not there', async () => {
    await using taken = await listen(createServer())
    const { port } = new URL(taken.url)
    await using here = await setup(
      `manager: { listen: "127.0.0.1:${port}" }\nsites: { here: { kind: local } }`,
    )
    assert.ok(wrong((await here.findings()).findings).includes('listen'))
    const refused = await here.doctor('there')
    assert.equal(refused.code, 2)
    assert.equal(refused.stdout, '')
    assert.match(refused.stderr, /^factory: there is no site there: factory\.yaml has here .*\n$/)
  })
})
