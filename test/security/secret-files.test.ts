import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { removeState, startOn } from '../support/manager.ts'

let parent: string
const umask = process.umask()

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'gleaner-files-'))
})

afterEach(async () => {
  process.umask(umask)
  await removeState(parent)
})

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

test('what holds secrets is its owner’s alone, whatever the umask and the owner of the state folder', async () => {
  process.umask(0)
  const state = join(parent, 'state')
  await mkdir(state)
  const manager = await startOn(state, { listen: { host: '0.0.0.0', port: 0 }, advertise: '127.0.0.1' })
  const secret = ['endpoint.json', 'ledger.db', 'ledger.db-wal', 'manager.key', 'metrics-token']
  for (const name of secret) assert.equal(await modeOf(join(state, name)), 0o600, name)
  assert.equal(await modeOf(join(state, 'blobs')), 0o700)
  const others = (await readdir(state)).filter((name) => !secret.includes(name))
  await manager.close()
  assert.deepEqual(others.sort(), ['blobs', 'manager.crt', 'runtime.tar.gz', 'store'])
})
