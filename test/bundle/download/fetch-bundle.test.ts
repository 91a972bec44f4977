import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import fastify from 'fastify'
import { createBundle } from '../../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../../src/bundle/download/fetch-bundle.ts'
import { servePieces } from '../../../src/bundle/upload/piece-routes.ts'
import { log, sourceOf, startNode, temporaryFolder, writeTree } from '../support/cluster.ts'

describe('fetching a bundle', () => {
  test('workers take a bundle from the manager and from each other', async () => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('src'), { 'model/weights.bin': 5_000_000, 'config.json': '{}', empty: '' })
    await using manager = await startNode(folder('manager'))
    const { id } = await createBundle({ store: manager.store, paths: [folder('src')], kind: 'files' })
    await using a = await startNode(folder('a'))
    await using b = await startNode(folder('b'))
    await using c = await startNode(folder('c'))
    const sources = Object.entries({ manager, a, b, c }).map(([name, node]) => sourceOf(name, node, id))
    const reports = await Promise.all(
      Object.entries({ a, b, c }).map(([own, { store }]) =>
        fetchBundle({
          bundle: id,
          store,
          sources: () => Promise.resolve(sources.filter(({ name }) => name !== own)),
          log,
          signal: AbortSignal.timeout(180_000),
        }),
      ),
    )
    for (const { store } of [a, b, c]) {
      await using held = await store.hold(id)
      assert.ok(held)
      const [got, expected] = await Promise.all([
        readFile(path.join(held.folder, 'model/weights.bin')),
        readFile(path.join(folder('src'), 'model/weights.bin')),
      ])
      assert.ok(got.equals(expected))
      assert.equal(await readFile(path.join(held.folder, 'empty'), 'utf8'), '')
    }
    assert.deepEqual(
      reports.flatMap(({ faults }) => faults),
      [],
    )
  })

  test('a fetch outlasts its ticket: the manager names sources again, with newer ones', async (t) => {
    await using temporary = await temporaryFolder()
    const folder = (name: string) => path.join(temporary.folder, name)
    await writeTree(folder('source'), { 'weights.bin': 3_000_000 })
    await using origin = await startNode(folder('manager'))
    const { store } = origin
    const { id } = await createBundle({ store, paths: [folder('source')], kind: 'files' })
    let [good, read] = ['first', 0]
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const pieces = (await store.pieces(id))!
    const reading: typeof pieces = {
      ...pieces,
      async read(...args) {
        if (++read === 4) {
          good = 'second'
          t.mock.timers.tick(60_000)
        }
        return await pieces.read(...args)
      },
    }
    const server = fastify({ forceCloseConnections: true })
    t.after(() => server.close())
    await server.register(servePieces, {
      store: {
        ...store,
        pieces: () => Promise.resolve(reading),
        awaitPieces: () => Promise.resolve(reading),
      },
      authorise: (ticket) => ticket === good,
    })
    const url = await server.listen({ host: '127.0.0.1', port: 0 })
    await using worker = await startNode(folder('worker'))
    const { from } = await fetchBundle({
      bundle: id,
      store: worker.store,
      sources: () => Promise.resolve([{ name: 'manager', url, ticket: good, kind: 'manager' }]),
      log,
      signal: AbortSignal.timeout(180_000),
    })
    assert.deepEqual(from, [{ source: 'manager', bytes: 3_000_000 }])
  })
})
