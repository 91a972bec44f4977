import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { GZIP, pack } from '../../../src/bundle/create/pack-tarball.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import { temporaryFolder, writeTree } from '../support/cluster.ts'

/** What conda-pack's program does, as far as it matters: it writes where it is, and here it also counts. */
const UNPACK = `
here=$(dirname "$(dirname "$0")")
echo "$here" > "$here/etc/prefix"
echo run >> "$here/etc/runs"
[ ! -e "$here/etc/broken" ] || { echo "no room for this environment" >&2; exit 1; }
`

async function packEnvironment(folder: string, more: Record<string, string> = {}): Promise<string> {
  const source = path.join(folder, 'source')
  await writeTree(source, { 'bin/conda-unpack': UNPACK, 'etc/prefix': 'placeholder', ...more })
  await writeFile(path.join(source, 'bin/python'), '#!/bin/sh\nexec sh "$@"\n', { mode: 0o755 })
  const archive = path.join(folder, 'env.tar.gz')
  await pack(source, archive, GZIP)
  return archive
}

const log = pino({ level: 'silent' })

test('a packed environment is unpacked and fitted to its place once, for all that share the store', async () => {
  await using temporary = await temporaryFolder()
  const archive = await packEnvironment(temporary.folder)
  const folder = path.join(temporary.folder, 'store')
  await mkdir(folder)
  await using one = await openStore({ folder, log })
  await using other = await openStore({ folder, log })
  const { id, manifest } = await createBundle({ store: one, paths: [archive], kind: 'tarball' })
  assert.equal(manifest.kind, 'tarball')
  const held = await Promise.all([one, other, one].map((store) => store.hold(id)))
  const places = new Set(held.map((pin) => pin!.folder))
  assert.equal(places.size, 1)
  const [place] = [...places]
  assert.equal(await readFile(path.join(place!, 'etc/prefix'), 'utf8'), `${place}\n`)
  for (const pin of held) await pin![Symbol.asyncDispose]()
  await using again = await other.hold(id)
  assert.equal(again!.folder, place)
  assert.equal(await readFile(path.join(place!, 'etc/runs'), 'utf8'), 'run\n')
})

test('a process that fetches an environment fits it to its place before it lets others fetch', async () => {
  await using temporary = await temporaryFolder()
  const archive = await packEnvironment(temporary.folder)
  const folder = path.join(temporary.folder, 'store')
  await mkdir(folder)
  await using one = await openStore({ folder, log })
  await using other = await openStore({ folder, log })
  const { id } = await createBundle({ store: one, paths: [archive], kind: 'tarball' })
  const fetching = await one.claimFetch(id)
  const held = await Promise.all([one, other].map((store) => store.hold(id)))
  await fetching!.release()
  const [place] = held.map((pin) => pin!.folder)
  assert.equal(await readFile(path.join(place!, 'etc/runs'), 'utf8'), 'run\n')
  for (const pin of held) await pin![Symbol.asyncDispose]()
})

test('an environment that cannot be fitted to its place says why', async () => {
  await using temporary = await temporaryFolder()
  const archive = await packEnvironment(temporary.folder, { 'etc/broken': '' })
  const folder = path.join(temporary.folder, 'store')
  await mkdir(folder)
  await using store = await openStore({ folder, log })
  const { id } = await createBundle({ store, paths: [archive], kind: 'tarball' })
  await assert.rejects(
    store.hold(id),
    /conda-unpack of the environment in .* failed: no room for this environment/,
  )
})
