import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { slurm } from '../../../src/factory/sites/slurm.ts'
import { type LocalOptions, localTransport } from '../../../src/factory/transports/local-transport.ts'
import { describeTransport } from './transport-suite.ts'

const transport = localTransport()
const patient = () => AbortSignal.timeout(180_000)

let folder: string
before(async () => void (folder = await mkdtemp(join(tmpdir(), 'gleaner-transport-'))))
after(() => rm(folder, { recursive: true }))

describeTransport('on this machine', () => ({ transport, folder }))

describe('the commands of a batch system', () => {
  test('that are not there are an error of the transport', async () => {
    await assert.rejects(
      transport.run(['no-such-command-here'], { signal: patient() }),
      /^TransportError: no-such-command-here cannot be run: /,
    )
  })
})

describe('the environment of a batch system’s commands', () => {
  /** What `env` says it has, when the factory itself has these variables. */
  async function seenWith(more: Record<string, string>, options: LocalOptions = {}) {
    const before = { ...process.env }
    Object.assign(process.env, more)
    try {
      const { stdout } = await localTransport(options).run(['/usr/bin/env'], { signal: patient() })
      return stdout.trim().split('\n')
    } finally {
      for (const name of Object.keys(more)) delete process.env[name]
      Object.assign(process.env, before)
    }
  }

  test('holds nothing that overrides the configuration, hides jobs, or leaks into pilots', async () => {
    const stray = {
      SBATCH_ACCOUNT: 'theirs',
      SBATCH_EXPORT: 'NONE',
      SQUEUE_PARTITION: 'high',
      SLURM_JOB_ID: '7',
      SLURM_MEM_PER_NODE: '64',
      SLURM_CLUSTERS: 'other',
      SCANCEL_STATE: 'RUNNING',
      _CONDOR_REQUEST_MEMORY: '1',
      NODE_OPTIONS: '--require=/nowhere',
      LD_PRELOAD: '',
      AWS_SECRET_ACCESS_KEY: 'secret',
      GLEANER_TOKEN_FILE: '/secret',
    }
    const seen = (await seenWith(stray)).map((line) => line.split('=')[0]!)
    assert.deepEqual(
      Object.keys(stray).filter((name) => seen.includes(name)),
      [],
    )
    assert.ok(seen.includes('PATH') && seen.includes('HOME'))
  })

  test('holds what the batch system’s kind needs, and what the site sets', async () => {
    const seen = await seenWith(
      { SLURM_CONF: '/etc/a.conf', CONDOR_CONFIG: '/etc/c' },
      { kept: slurm.environment, set: { SLURM_CLUSTERS: 'alpha' } },
    )
    assert.ok(seen.includes('SLURM_CONF=/etc/a.conf'))
    assert.ok(seen.includes('SLURM_CLUSTERS=alpha'))
    assert.ok(!seen.includes('CONDOR_CONFIG=/etc/c'))
  })
})
