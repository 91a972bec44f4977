import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { temporaryFolder } from '../bundle/support/cluster.ts'
import { factory } from './cli.ts'

/** A state folder with a site of HTCondor, where a pilot was submitted. */
async function submitted(state: string, log?: string): Promise<void> {
  const submission = join(state, 'submissions', 'pool', 'p1-abc')
  await mkdir(join(submission, 'logs'), { recursive: true, mode: 0o700 })
  await writeFile(join(state, 'factory.yaml'), 'sites: { pool: { kind: htcondor } }\n', { mode: 0o600 })
  await writeFile(join(submission, 'pilots'), 'p1\n')
  if (log !== undefined) await writeFile(join(submission, 'logs', 'p1.log'), log)
}

describe('the log of a pilot', () => {
  test('is printed as it is', async () => {
    await using temporary = await temporaryFolder()
    await submitted(temporary.folder, 'gleaner: p1 on node1\n')
    const { code, stdout } = await factory(['logs', '--pilot', 'p1'], { state: temporary.folder })
    assert.deepEqual([code, stdout], [0, 'gleaner: p1 on node1\n'])
  })

  test('that HTCondor has not brought yet can be seen with a command of HTCondor', async () => {
    await using temporary = await temporaryFolder()
    await submitted(temporary.folder)
    const { code, stderr } = await factory(['logs', '--pilot', 'p1'], { state: temporary.folder })
    assert.equal(code, 2)
    assert.match(stderr, /there is no log of p1 here: HTCondor brings it .* "condor_tail JOB"/)
  })

  test('of a pilot that was never submitted is none', async () => {
    await using temporary = await temporaryFolder()
    await submitted(temporary.folder)
    const { code, stderr } = await factory(['logs', '--pilot', 'p2'], { state: temporary.folder })
    assert.equal(code, 2)
    assert.match(stderr, /there is no log of p2: it has not started, or ended long ago, or never was/)
  })
})
