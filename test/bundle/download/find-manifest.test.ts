import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { orderForManifest, raceForManifest } from '../../../src/bundle/download/find-manifest.ts'
import { httpSource } from '../../../src/bundle/sources/http-source.ts'
import { bundleIdOf, canonicalJson } from '../../../src/bundle/format/manifest.ts'
import type { PieceSource } from '../../../src/bundle/sources/piece-source.ts'
import type { Manifest } from '../../../src/protocol/bundle.ts'
import { sourceOf, startNode, temporaryFolder, writeTree } from '../support/cluster.ts'

const MANIFEST: Manifest = {
  version: 1,
  kind: 'files',
  files: [{ path: 'a', size: 1, executable: false, pieceSize: 1 << 16, pieces: [hash('sha256', 'a')] }],
}
const ID = bundleIdOf(MANIFEST)
const bytes = Buffer.from(canonicalJson(MANIFEST))

type Answer = (signal: AbortSignal) => Promise<Buffer>
const good: Answer = () => Promise.resolve(bytes)
const bad: Answer = () => Promise.reject(new Error('not here'))
const other: Answer = () => Promise.resolve(Buffer.from(canonicalJson({ ...MANIFEST, kind: 'tarball' })))
const never: Answer = (signal) => sleep(60_000, bytes, { signal })

const source = (manifest: Answer) => ({ manifest }) as PieceSource

function find(answers: Answer[], signal = new AbortController().signal): Promise<Manifest | undefined> {
  return raceForManifest(answers.map(source), ID, signal)
}

describe('finding a manifest', () => {
  test('goes on from sources that have none, have another one, or do not answer', async () => {
    assert.deepEqual(await find([bad, other, never, good]), MANIFEST)
  })

  test('asks no other source once one has answered, and lets go of those that have not', async () => {
    const letGo = Promise.withResolvers<void>()
    const waits: Answer = (signal) => {
      signal.addEventListener('abort', () => letGo.resolve())
      return never(signal)
    }
    let asked = 0
    const counts: Answer = () => Promise.resolve(bytes).finally(() => asked++)
    assert.deepEqual(await find([waits, good, counts]), MANIFEST)
    await letGo.promise
    assert.equal(asked, 0)
  })

  test('finds none where no source has it, or when it is called off', async () => {
    assert.equal(await find([]), undefined)
    assert.equal(await find([bad, other]), undefined)
    assert.equal(await find([never, never], AbortSignal.timeout(10)), undefined)
  })

  test('asks everyone, the manager first', () => {
    const kinds = fc.shuffledSubarray(['manager', 'peer', 'peer', 'peer', 'folder'] as const)
    fc.assert(
      fc.property(kinds, fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })), (kinds, chances) => {
        const sources = kinds.map((kind) => ({ kind }))
        const order = orderForManifest(sources, () => chances.next().value as number)
        assert.deepEqual(new Set(order), new Set(sources))
        assert.equal(order.length, sources.length)
        assert.ok(order.findIndex(({ kind }) => kind === 'manager') <= 0)
      }),
    )
  })

  test('all that ask at once have their turn, also if they never ask for anything else', async () => {
    await using temporary = await temporaryFolder()
    await writeTree(temporary.folder, { 'source/weights.bin': 100_000 })
    await using node = await startNode(path.join(temporary.folder, 'node'))
    const paths = [path.join(temporary.folder, 'source')]
    const { id, manifest } = await createBundle({ store: node.store, paths, kind: 'files' })
    const sources = Array.from({ length: 7 }, () => httpSource(id, sourceOf('manager', node, id)))
    const signal = AbortSignal.timeout(180_000)
    const answers = await Promise.all(sources.map((source) => source.manifest(signal)))
    for (const answer of answers) assert.equal(answer.toString(), canonicalJson(manifest))
    await Promise.all(sources.map((source) => source.close()))
  })
})
