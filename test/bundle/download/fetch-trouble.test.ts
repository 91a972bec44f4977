import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { describe, test } from 'node:test'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import { openStore } from '../../../src/bundle/store/store.ts'
import type { Source } from '../../../src/protocol/piece-sources.ts'
import { log, sourceOf, startNode, temporaryFolder, writeTree } from '../support/cluster.ts'
import type { Node } from '../support/cluster.ts'
import type { FetchNews, FetchOrder } from '../support/fetch-process.ts'

const BYTES = 4_000_000

/** A manager with a bundle of one file of random bytes. */
async function startManager(folder: string, intercept?: Parameters<typeof startNode>[1]) {
  const source = path.join(folder, 'source')
  await writeTree(source, { 'weights.bin': BYTES })
  const manager = await startNode(path.join(folder, 'manager'), intercept)
  const { id } = await createBundle({ store: manager.store, paths: [source], kind: 'files' })
  return { manager, id, source, sources: [sourceOf('manager', manager, id)] }
}

/**
 * Starts a process that fetches.
 * @param mount options of a filesystem in memory that it has at its folder, seen by nobody else.
 */
function startFetcher(order: FetchOrder, mount?: string) {
  const command = [process.execPath, path.join(import.meta.dirname, '../support/fetch-process.ts')]
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user']
  const mounting = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
  const [program, ...args] =
    mount === undefined
      ? command
      : ['unshare', ...user, '--mount', 'sh', '-c', mounting, 'sh', mount, order.folder, ...command]
  const child = spawn(program!, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  child.send(order)
  /** The first news that are of this kind. */
  const news = <T extends FetchNews>(is: (news: FetchNews) => news is T): Promise<T> =>
    new Promise((resolve, reject) => {
      child.on('message', (news: FetchNews) => is(news) && resolve(news))
      child.on('exit', () => reject(new Error('the process that fetches is gone')))
    })
  return {
    progress: (bytes: number) =>
      news((news): news is { held: number } => 'held' in news && news.held >= bytes),
    failure: () => news((news): news is { code: string; message: string } => 'code' in news),
    report: async () => (await news((news) => 'report' in news)).report,
    async kill() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

/** Fetches in this process and compares every byte. */
async function fetchAndCompare(folder: string, id: string, source: string, sources: Source[]) {
  await using store = await openStore({ folder, log })
  const signal = AbortSignal.timeout(180_000)
  const report = await fetchBundle({
    bundle: id,
    store,
    sources: () => Promise.resolve(sources),
    log,
    signal,
  })
  assert.deepEqual(await store.verify(id), [])
  await using held = await store.hold(id)
  const [got, expected] = await Promise.all(
    [held!.folder, source].map((root) => readFile(path.join(root, 'weights.bin'))),
  )
  assert.ok(got!.equals(expected!))
  return report
}

/** Lets so many reads through, and the others once it is opened. */
function gate(free: number) {
  const { promise, resolve } = Promise.withResolvers<void>()
  return {
    open: resolve,
    pass: async (data: Buffer) => {
      if (free-- <= 0) await promise
      return data
    },
  }
}

describe('a fetch in trouble', () => {
  const disks: Record<string, [mount: string, message: RegExp]> = {
    'a full disk': [
      'size=2m',
      /the disk is full; free some space .*\(\d+ MiB more are needed, and there are 1 MiB left on the filesystem at \//,
    ],
    'a read-only cache': ['ro', /read-only; choose a folder that can be written/],
  }
  for (const [what, [mount, message]] of Object.entries(disks)) {
    test(`ends on ${what} and says what to do`, async () => {
      await using temporary = await temporaryFolder()
      const { manager, id, sources } = await startManager(temporary.folder)
      await using _manager: Node = manager
      const folder = path.join(temporary.folder, 'worker')
      await mkdir(folder)
      const failure = await startFetcher({ folder, bundle: id, sources }, mount).failure()
      assert.equal(failure.code, 'GLEANER_BUNDLE_DISK', failure.message)
      assert.match(failure.message, message)
    })
  }

  test('ends when no source has the bundle any more', async (context) => {
    await using temporary = await temporaryFolder()
    const nobody = createServer((_request, response) => response.writeHead(404).end())
    context.after(() => nobody.close())
    await once(nobody.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(nobody.address() as { port: number }).port}`
    await using store = await openStore({ folder: temporary.folder, log })
    const bundle = 'b'.repeat(64)
    const sources = () => Promise.resolve([sourceOf('manager', { url }, bundle)])
    const signal = AbortSignal.timeout(180_000)
    await assert.rejects(fetchBundle({ bundle, store, sources, log, signal, patienceMs: 1 }), {
      code: 'GLEANER_BUNDLE_NOT_FOUND',
      message: `no source has bundle ${bundle} any more: add its context again`,
    })
  })

  test('two processes that share a cache fetch a bundle once', async () => {
    await using temporary = await temporaryFolder()
    const { manager, id, source, sources } = await startManager(temporary.folder)
    await using _manager: Node = manager
    const folder = path.join(temporary.folder, 'worker')
    const order = { folder, bundle: id, sources }
    const reports = await Promise.all([startFetcher(order), startFetcher(order)].map((one) => one.report()))
    const taken = reports.flatMap(({ from }) => from).reduce((sum, { bytes }) => sum + bytes, 0)
    assert.equal(taken, BYTES)
    assert.deepEqual((await fetchAndCompare(folder, id, source, sources)).from, [])
  })

  test('a process does not wait for another one that waits for it to fetch into the cache of both', async () => {
    await using temporary = await temporaryFolder()
    const folder = path.join(temporary.folder, 'cache')
    await using fetcher = await openStore({ folder, log })
    await using waiting = await openStore({ folder, log })
    const bundle = 'a'.repeat(64)
    const claim = await fetcher.claimFetch(bundle)
    const tooLong = AbortSignal.timeout(180_000)
    assert.equal(await waiting.awaitPieces(bundle, 3_600_000, tooLong), undefined)
    assert.equal(tooLong.aborted, false)
    await claim!.release()
  })

  test('a bundle that is being fetched cannot be removed, and can be afterwards', async () => {
    await using temporary = await temporaryFolder()
    const { open, pass } = gate(8)
    const { manager, id, sources } = await startManager(temporary.folder, pass)
    await using _manager: Node = manager
    const folder = path.join(temporary.folder, 'worker')
    const fetcher = startFetcher({ folder, bundle: id, sources })
    const reported = fetcher.report()
    await fetcher.progress(1)
    await using store = await openStore({ folder, log })
    await assert.rejects(store.remove(id), { code: 'GLEANER_BUNDLE_IN_USE' })
    open()
    assert.equal((await reported).totalBytes, BYTES)
    await store.remove(id)
    assert.equal(await store.isComplete(id), false)
  })

  test('a bundle that another process removed is not offered any more, a second later', async (context) => {
    await using temporary = await temporaryFolder()
    const { manager, id } = await startManager(temporary.folder)
    await using _manager: Node = manager
    assert.equal((await manager.store.pieces(id))?.heldBytes(), BYTES)
    await using other = await openStore({ folder: manager.store.folder, log })
    await other.remove(id)
    const later = performance.now() + 1_000
    context.mock.method(performance, 'now', () => later)
    assert.equal(await manager.store.pieces(id), undefined)
  })

  test('a bundle that its only source removes meanwhile is fetched to the end once it is there again', async () => {
    await using temporary = await temporaryFolder()
    const { open, pass } = gate(8)
    const { manager, id, source, sources } = await startManager(temporary.folder, pass)
    await using _manager: Node = manager
    const folder = path.join(temporary.folder, 'worker')
    const fetcher = startFetcher({ folder, bundle: id, sources })
    const reported = fetcher.report()
    await fetcher.progress(1)
    await manager.store.remove(id)
    open()
    await createBundle({ store: manager.store, paths: [source], kind: 'files' })
    assert.equal((await reported).totalBytes, BYTES)
    await fetchAndCompare(folder, id, source, sources)
  })

  test('goes on after SIGKILLs at any moment, without a bad byte', async () => {
    await using temporary = await temporaryFolder()
    const { manager, id, source, sources } = await startManager(temporary.folder)
    await using _manager: Node = manager
    const folder = path.join(temporary.folder, 'worker')
    for (const share of [0, 0.2, 0.5, 0.9]) {
      const fetcher = startFetcher({ folder, bundle: id, sources })
      await fetcher.progress(share * BYTES)
      await fetcher.kill()
    }
    const { foundBytes } = await fetchAndCompare(folder, id, source, sources)
    assert.ok(foundBytes > 0)
  })

  test('checks what it finds at start: pieces that were spoiled on disk are fetched again', async () => {
    await using temporary = await temporaryFolder()
    const { manager, id, source, sources } = await startManager(temporary.folder)
    await using _manager: Node = manager
    const folder = path.join(temporary.folder, 'worker')
    await leavePieces(folder, manager, id, 8)
    const partials = path.join(folder, 'partial', id)
    const [partial] = await readdir(partials)
    await using file = await open(path.join(partials, partial!), 'r+')
    const { pieceSize } = (await manager.store.manifest(id))!.files[0]!
    for (let piece = 0; piece < 8; piece++)
      await file.write(Buffer.from([1, 2, 3, 4]), 0, 4, piece * pieceSize)
    const { foundBytes } = await fetchAndCompare(folder, id, source, sources)
    assert.equal(foundBytes, 0)
  })
})

/** A bundle's first pieces in a store, as a fetch leaves them that did not come to its end. */
async function leavePieces(folder: string, from: Node, bundle: string, count: number): Promise<void> {
  const manifest = (await from.store.manifest(bundle))!
  const held = (await from.store.pieces(bundle))!
  await using store = await openStore({ folder, log })
  const claim = await store.claimFetch(bundle)
  const pieces = await store.begin(bundle, manifest)
  for (let piece = 0; piece < count; piece++) {
    assert.ok(await pieces.add(piece, await held.read(piece, 1)))
  }
  await claim!.release()
}
