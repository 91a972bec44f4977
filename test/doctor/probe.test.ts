import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { examine, type Finding } from '../../src/doctor/doctor.ts'

let folder: string
let state: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-probe-'))
  state = join(folder, 'state')
  await mkdir(state, { mode: 0o700 })
  const local = { kind: 'local', grace: 1, cacheFolder: join(folder, 'cache') }
  const sites = { here: { ...local, count: 2 }, broken: { ...local, count: 1, setup: 'cd /nonexistent' } }
  await writeFile(join(state, 'factory.yaml'), JSON.stringify({ sites }))
})
after(() => rm(folder, { recursive: true, maxRetries: 5 }))

/** What probes of a site find out. */
async function probe(site: string): Promise<Finding[]> {
  const addressOf = () => ({ host: '127.0.0.1', port: 0, url: 'http://127.0.0.1:0', tls: false })
  const probe = { waitMs: 60_000, signal: new AbortController().signal, onDoing: () => {} }
  const found = examine({ state, site, addressOf, probe })
  return (await Array.fromAsync(found)).filter(({ check }) => check.startsWith('probe'))
}

test('pilots that a doctor submits report what their node is like, reach it and each other, and are gone then', async () => {
  const found = await probe('here')
  const text = (check: string) =>
    found
      .filter((one) => one.check === check)
      .map((one) => one.text)
      .join(' ')
  assert.equal(found.filter(({ verdict }) => verdict === 'error').length, 0, JSON.stringify(found))
  assert.match(text('probe'), /A pilot came up on .*A pilot came up on /)
  assert.match(text('probe-manager'), /reaches where the manager will listen/)
  assert.equal(text('probe-peer'), 'Pilots reach each other.')
  assert.match(text('probe-engine'), /computes with cpu/)
  assert.match(text('probe-tools'), /tar/)
  assert.match(text('probe-grace'), /gets SIGTERM, and at least/)
  const left = await readdir(state)
  assert.deepEqual(
    left.filter((name) => name.startsWith('probe-')),
    [],
  )
})

test('a site whose own lines fail is found out by a probe, in the words of its pilot', async () => {
  const [failed, ...others] = await probe('broken')
  assert.deepEqual(others, [])
  assert.equal(failed!.verdict, 'error')
  assert.match(failed!.text, /A pilot did not come up: setup-failed: line 1 \(cd\) ended with exit code 1/)
})
