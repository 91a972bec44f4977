import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import { localSite } from '../../../src/factory/sites/local.ts'
import {
  bootedRuntimes,
  newSubmission,
  submissionsFolder,
} from '../../../src/factory/submissions/submission.ts'
import { testRegistry } from '../support/fake-pilot-registry.ts'
import { prepare } from '../support/write-submission.ts'

test('a runtime is needed as long as a pilot submitted with it has not ended', async (context) => {
  const state = await mkdtemp(join(tmpdir(), "gleaner-user's-"))
  context.after(() => rm(state, { recursive: true }))
  const config = resolveConfig(ConfigFile.parse({ sites: { here: { kind: 'local' } } })).sites[0]!
  const siteFolder = submissionsFolder(state, 'here')
  const site = localSite(config as Parameters<typeof localSite>[0], siteFolder, () => {})
  const registry = testRegistry()
  const submit = async (path: string) => {
    const boot = { managerUrl: 'http://localhost:1', runtime: { path, sha256: 'a'.repeat(64) } }
    const { pilot } = registry.create('here', 1)[0]!
    await prepare(site, { config, siteFolder, boot }, [pilot])
    return pilot
  }
  const [old, current] = [join(state, 'old.tar.gz'), join(state, 'current.tar.gz')]
  const first = await submit(old)
  await submit(current)

  const before = await bootedRuntimes(state, registry)
  assert.deepEqual([old, current, join(state, 'older.tar.gz')].map(before), [true, true, false])
  registry.ended([{ pilot: first, reason: 'ended' }])
  const after = await bootedRuntimes(state, registry)
  assert.deepEqual([old, current].map(after), [false, true])
})

test('only what is a host name is named in the description of a job, as a node to avoid', () => {
  const hostile = ['n2\n#SBATCH --uid=0', 'n3 --wrap=id', 'n4;id', '-n5', '\u001b[2J', '', 'n'.repeat(256)]
  assert.deepEqual(newSubmission('/sites/here', ['p1'], ['n1', ...hostile, 'gpu-7.example_1']).avoidNodes, [
    'n1',
    'gpu-7.example_1',
  ])
})
