import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openTransports } from '../../../src/factory/transports/open-transports.ts'
import { batchSiteAt } from '../../factory/transports/ssh/ssh-site.ts'
import { startSshd } from '../../factory/transports/ssh/sshd.ts'

/* A submit node whose disk is really full: a small one of its own, which takes root to mount. */

const patient = () => AbortSignal.timeout(180_000)
const NO_ROOM = /login.*cannot (copy|send) .*[Nn]o space left on device/s

test('on a submit node with a full disk, it is said what is wrong, nothing half is left, and all goes on when there is room', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-full-'))
  const farEnd = join(folder, 'far end')
  mkdirSync(farEnd)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'gleaner-test', farEnd])
  t.after(() => {
    execFileSync('umount', [farEnd])
    rmSync(folder, { recursive: true })
  })
  await using sshd = await startSshd()
  using transports = openTransports(folder)
  const { files } = transports.of(batchSiteAt(sshd, folder), [], 'f')

  const submission = join(folder, 'submission')
  mkdirSync(submission)
  writeFileSync(join(submission, 'pilot.sh'), randomBytes(200_000))
  const to = await files.folderFor(submission, patient())
  const ballast = join(farEnd, 'ballast')
  assert.throws(() => writeFileSync(ballast, Buffer.alloc(2 << 20)), { code: 'ENOSPC' })
  await assert.rejects(files.copy(submission, to, patient()), NO_ROOM)
  assert.deepEqual(
    readdirSync(farEnd, { recursive: true }).filter((name) => String(name).includes('submission')),
    [],
  )
  rmSync(ballast)
  await files.copy(submission, to, patient())
  assert.deepEqual(readdirSync(to), ['pilot.sh'])

  // Where there is no room for a block, there may be for the shorter one after it.
  for (let round = 0; round < 8; round++) {
    const content = randomBytes(700_000 - round * 1_000)
    const path = join(folder, 'runtime.tar.gz')
    writeFileSync(path, content)
    const runtime = { path, sha256: createHash('sha256').update(content).digest('hex') }
    writeFileSync(ballast, Buffer.alloc(400_000))
    await assert.rejects(files.deliver(runtime, patient()), NO_ROOM)
    rmSync(ballast)
    const there = await files.deliver(runtime, patient())
    assert.deepEqual(readFileSync(there), content)
    rmSync(there)
  }
})
