import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { packRuntime, removeOldRuntimes } from '../../src/runtime/pack-runtime.ts'
import { openStore } from '../../src/bundle/store/store.ts'
import { log, temporaryFolder, writeTree } from '../bundle/support/cluster.ts'

const source = (file: string) => JSON.stringify(new URL(`../../src/${file}`, import.meta.url).href)

/** Prints the hash of a runtime: a process of its own, as the working directory is a process's. */
const PACK = `
  import { openStore } from ${source('bundle/store/store.ts')}
  import { packRuntime } from ${source('runtime/pack-runtime.ts')}
  const [folder, worker, node] = process.argv.slice(1)
  const log = { info() {}, warn() {} }
  const store = await openStore({ folder, log })
  const { sha256 } = await packRuntime({ store, log, node, programs: { 'worker.js': worker } })
  await store[Symbol.asyncDispose]()
  process.stdout.write(sha256)
`

test('the runtime is the same from whatever folder the factory is started', async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-runtime-'))
  context.after(() => rm(folder, { recursive: true }))
  const [worker, node] = [path.join(folder, 'worker.ts'), path.join(folder, 'node')]
  await writeFile(worker, 'export const answer: number = 42\n')
  await writeFile(node, 'a binary')

  const packFrom = (cwd: string, store: string) =>
    execFileSync(
      process.execPath,
      ['--input-type=module', '-e', PACK, path.join(folder, store), worker, node],
      { cwd, encoding: 'utf8' },
    )
  const first = packFrom('/', 'one')
  assert.match(first, /^[0-9a-f]{64}$/)
  assert.equal(packFrom(folder, 'two'), first)
})

test('both archives of a runtime hold the same', async () => {
  await using temporary = await temporaryFolder()
  const { folder } = temporary
  await using store = await openStore({ folder: path.join(folder, 'store'), log })
  await writeTree(folder, { 'worker.ts': 'export const answer: number = 42\n', node: 'a binary' })
  const programs = { 'worker.js': path.join(folder, 'worker.ts') }
  const { zstd, ...gzip } = await packRuntime({ store, log, node: path.join(folder, 'node'), programs })
  const [gzipped, zstandard] = [await readFile(gzip.path), await readFile(zstd.path)]
  assert.deepEqual(gunzipSync(gzipped), zstdDecompressSync(zstandard))
  assert.deepEqual([gzip.bytes, zstd.bytes], [gzipped.length, zstandard.length])
  assert.equal(zstd.sha256, createHash('sha256').update(zstandard).digest('hex'))
})

test('it is said that a runtime is packed, and nothing when it is there already', async () => {
  await using temporary = await temporaryFolder()
  const { folder } = temporary
  await using store = await openStore({ folder: path.join(folder, 'store'), log })
  await writeTree(folder, { 'worker.ts': 'export const answer: number = 42\n', node: 'a binary' })
  const programs = { 'worker.js': path.join(folder, 'worker.ts') }
  let said = 0
  const pack = () =>
    packRuntime({ store, log, node: path.join(folder, 'node'), programs, onPacking: () => said++ })
  await pack()
  assert.equal(said, 1)
  await pack()
  assert.equal(said, 1)
})

test('old runtimes go once no pilot boots from them', async () => {
  await using temporary = await temporaryFolder()
  const { folder } = temporary
  await using store = await openStore({ folder: path.join(folder, 'store'), log })
  const [worker, node] = [path.join(folder, 'worker.ts'), path.join(folder, 'node')]
  const pack = async (version: number) => {
    await writeTree(folder, { 'worker.ts': `export const version = ${version}\n`, node: 'a binary' })
    return await packRuntime({ store, log, node, programs: { 'worker.js': worker } })
  }
  const [oldest, old, current] = [await pack(1), await pack(2), await pack(3)]
  const ids = async () => new Set((await store.list()).map(({ id }) => id))

  await removeOldRuntimes(store, current.id, (file) => file === old.path)
  assert.deepEqual(await ids(), new Set([old.id, current.id]))
  await removeOldRuntimes(store, current.id, () => false)
  assert.deepEqual(await ids(), new Set([current.id]))
  assert.equal((await pack(1)).sha256, oldest.sha256)
})
