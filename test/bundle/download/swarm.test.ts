import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { bitmap } from '../../../src/bundle/format/bitmap.ts'
import { pieceLayoutOf } from '../../../src/bundle/format/piece-layout.ts'
import type { StoredPieces } from '../../../src/bundle/store/stored-pieces.ts'
import { SourceError } from '../../../src/bundle/sources/piece-source.ts'
import type { PieceSource } from '../../../src/bundle/sources/piece-source.ts'
import { runSwarm } from '../../../src/bundle/download/swarm.ts'
import { PEERS } from '../../../src/protocol/piece-sources.ts'
import type { Fault, FaultReason } from '../../../src/protocol/piece-sources.ts'
import { until } from '../../support/until.ts'
import { log } from '../support/cluster.ts'

/** A peer that tells nothing until it is closed, or made to fail. */
function peer(name: string) {
  const { promise, reject } = Promise.withResolvers<void>()
  const state = { closed: false }
  const source: PieceSource = {
    name,
    kind: 'peer',
    manifest: () => Promise.reject(new Error('not asked')),
    follow: (_layout, _onHeld, signal) =>
      Promise.race([promise, once(signal, 'abort').then(() => signal.throwIfAborted())]),
    take: () => Promise.resolve('none'),
    close: () => Promise.resolve().then(() => void (state.closed = true)),
  }
  return { source, state, fail: (reason: FaultReason = 'reset') => reject(new SourceError(reason, 'gone')) }
}

function emptyPieces(): StoredPieces {
  const file = { path: 'a', size: 1, executable: false, pieceSize: 1 << 16, pieces: ['0'.repeat(64)] }
  const layout = pieceLayoutOf({ version: 1, kind: 'files', files: [file] })
  return {
    bundle: '',
    layout,
    held: bitmap(1),
    heldPieces: () => 0,
    heldBytes: () => 0,
    read: () => Promise.reject(new Error('nothing is held')),
    add: () => Promise.resolve(true),
    watch: () => () => {},
  }
}

describe('a swarm', () => {
  test('uses as many peers as are of use, and another one when one fails', async (t) => {
    const stop = new AbortController()
    t.after(() => stop.abort())
    const fault = Promise.withResolvers<string>()
    const run = runSwarm({
      pieces: emptyPieces(),
      log,
      signal: stop.signal,
      onFault: ({ source }) => fault.resolve(source),
      onProgress: () => {},
    })
    const all = Array.from({ length: PEERS + 2 }, (_, index) => peer(`n${index}`))
    run.offer(all.slice(0, PEERS - 1).map(({ source }) => source))
    assert.equal(run.hasEnough(), false)
    run.offer(all.slice(PEERS - 1, PEERS + 1).map(({ source }) => source))
    assert.equal(run.hasEnough(), true)
    await Promise.resolve()
    assert.deepEqual(
      all.filter(({ state }) => state.closed).map(({ source }) => source.name),
      [`n${PEERS}`],
    )

    all[0]!.fail()
    assert.equal(await fault.promise, 'n0')
    assert.equal(run.hasEnough(), false)
    run.offer([all.at(-1)!.source])
    assert.equal(run.hasEnough(), true)

    stop.abort(new Error('over'))
    await assert.rejects(run.finished, /over/)
    assert.ok(all.every(({ state }) => state.closed))
  })

  test('takes back who refused it once, as it may not have begun yet, and leaves it out the second time', async (t) => {
    const stop = new AbortController()
    t.after(() => stop.abort())
    const faults: Fault[] = []
    const run = runSwarm({
      pieces: emptyPieces(),
      log,
      signal: stop.signal,
      onFault: (fault) => faults.push(fault),
      onProgress: () => {},
    })
    for (const expected of [0, 1]) {
      const one = peer('n')
      run.offer([one.source])
      one.fail('refused')
      await until(() => one.state.closed)
      assert.equal(faults.length, expected)
    }
    assert.equal(faults[0]!.reason, 'refused')
    stop.abort(new Error('over'))
    await assert.rejects(run.finished, /over/)
  })
})
