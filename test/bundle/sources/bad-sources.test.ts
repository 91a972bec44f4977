import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import path from 'node:path'
import { describe, test } from 'node:test'
import { Pool } from 'undici'
import { add, bitmap } from '../../../src/bundle/format/bitmap.ts'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import { frame } from '../../../src/protocol/channels/frames.ts'
import { FrameKind } from '../../../src/protocol/channels/piece-frames.ts'
import type { FaultReason } from '../../../src/protocol/piece-sources.ts'
import { listen, type Listening } from '../../support/listen.ts'
import { startSource } from '../support/scripted-source.ts'
import { log, sourceOf, startNode, temporaryFolder, writeTree } from '../support/cluster.ts'

/** A TCP server of which each connection is treated so. */
const startServer = (treat: (socket: Socket) => void) => listen(createServer(treat))

/** A peer that says it holds everything, and of each answer sends a byte now and then. */
async function startDripper(pieces: number): Promise<Listening & { asked: Set<number> }> {
  const asked = new Set<number>()
  const held = bitmap(pieces)
  for (let piece = 0; piece < pieces; piece++) add(held, piece)
  const source = await startSource((kind, first, count, socket) => {
    if (kind === FrameKind.FOLLOW) return socket.write(frame(FrameKind.HELD, pieces, held.length, held))
    asked.add(first)
    socket.write(frame(FrameKind.RUN, first, count))
    const dripping = setInterval(() => socket.write('x'), 50)
    return socket.once('close', () => clearInterval(dripping))
  })
  return Object.assign(source, { asked })
}

const spoil = (data: Buffer) => {
  data[0]! ^= 1
  return data
}

describe('bad sources', () => {
  test('are left out, each with its reason, and cost no byte of the bundle', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { 'weights.bin': 3_000_000 })
    const allLeftOut = Promise.withResolvers<void>()
    await using manager = await startNode(folder('manager'), async (data) => {
      await allLeftOut.promise
      return data
    })
    await using liar = await startNode(folder('liar'), spoil)
    const bundle = { paths: [folder('source')], kind: 'files' as const }
    const { id } = await createBundle({ ...bundle, store: manager.store })
    await createBundle({ ...bundle, store: liar.store })
    await using resetter = await startServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
    await using babbler = await startServer((socket) => socket.end('this is no HTTP\r\n\r\n'))
    await using silent = await startServer(() => {})
    const gone = await startServer(() => {})
    await gone[Symbol.asyncDispose]()

    const peers = { liar, resetter, babbler, silent, nobody: gone }
    const sources = Object.entries({ manager, ...peers }).map(([name, node]) => sourceOf(name, node, id))
    const expected: Record<string, FaultReason> = {
      liar: 'corrupt',
      resetter: 'reset',
      babbler: 'protocol',
      silent: 'stalled',
      nobody: 'unreachable',
    }
    const reported = new Map<string, FaultReason>()
    await using worker = await startNode(folder('worker'))
    const report = await fetchBundle({
      bundle: id,
      store: worker.store,
      log,
      signal: AbortSignal.timeout(180_000),
      // The others keep their time: the manager answers when all others are left out.
      connect: ({ name, url }, options) =>
        new Pool(url, name === 'silent' ? { ...options, headersTimeout: 500 } : options),
      sources: ({ faults }) => {
        for (const { source, reason } of faults) reported.set(source, reason)
        if (reported.size === Object.keys(expected).length) allLeftOut.resolve()
        return Promise.resolve(sources)
      },
    })
    assert.deepEqual(Object.fromEntries(reported), expected)
    assert.deepEqual(report.from, [{ source: 'manager', bytes: 3_000_000 }])
    assert.deepEqual(await worker.store.verify(id), [])
  })

  test('one that never ends an answer holds up no piece: they are asked of another', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { 'weights.bin': 3_000_000 })
    await using manager = await startNode(folder('manager'))
    const { id, manifest } = await createBundle({
      store: manager.store,
      paths: [folder('source')],
      kind: 'files',
    })
    await using dripper = await startDripper(manifest.files[0]!.pieces.length)
    await using worker = await startNode(folder('worker'))
    const sources = Object.entries({ manager, dripper }).map(([name, node]) => sourceOf(name, node, id))
    const report = await fetchBundle({
      bundle: id,
      store: worker.store,
      sources: () => Promise.resolve(sources),
      log,
      signal: AbortSignal.timeout(180_000),
    })
    assert.ok(dripper.asked.size > 0)
    assert.deepEqual(report.from, [{ source: 'manager', bytes: 3_000_000 }])
    assert.deepEqual(await worker.store.verify(id), [])
  })

  test('a manager whose copy is damaged ends the fetch, which says what to do', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { 'weights.bin': 100_000 })
    await using manager = await startNode(folder('manager'), spoil)
    const { id } = await createBundle({ store: manager.store, paths: [folder('source')], kind: 'files' })
    await using worker = await startNode(folder('worker'))
    const fetching = fetchBundle({
      bundle: id,
      store: worker.store,
      sources: () => Promise.resolve([sourceOf('manager', manager, id)]),
      log,
      signal: AbortSignal.timeout(180_000),
    })
    await assert.rejects(fetching, { code: 'GLEANER_BUNDLE_DAMAGED', message: /verify it there/ })
    assert.equal(await worker.store.isComplete(id), false)
  })

  test('a shared folder is enough of a source while the manager is away', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { 'weights.bin': 3_000_000, 'config.json': '{}' })
    await using manager = await startNode(folder('manager'))
    await using shared = await startNode(folder('shared'))
    const bundle = { paths: [folder('source')], kind: 'files' as const }
    const { id } = await createBundle({ ...bundle, store: manager.store })
    await createBundle({ ...bundle, store: shared.store })
    await using worker = await startNode(folder('worker'))
    const report = await fetchBundle({
      bundle: id,
      store: worker.store,
      shared: folder('shared'),
      sources: () => Promise.reject(new Error('the manager is away')),
      log,
      signal: AbortSignal.timeout(180_000),
    })
    assert.deepEqual(report.from, [{ source: `folder ${folder('shared')}`, bytes: 3_000_002 }])
    assert.deepEqual(await worker.store.verify(id), [])
  })
})
