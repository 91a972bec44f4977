import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createPartSender } from '../../../src/pilot/uplink/part-sender.ts'
import type { PartsRequest, PartsResponse } from '../../../src/protocol/worker.ts'
import { until } from '../../support/until.ts'

type Parts = PartsRequest['parts']
const part = (task: number, n: number) => ({ task, lease: 1, n, part: 'x' })

/** A manager that answers when it is told to. */
function stage() {
  const sent: { parts: Parts; answer: (answer: Partial<PartsResponse>) => void; fail: () => void }[] = []
  const lost: number[] = []
  const sender = createPartSender({
    send: (parts) =>
      new Promise((resolve, reject) =>
        sent.push({
          parts,
          answer: (answer) => resolve({ unread: [], lost: [], ...answer }),
          fail: () => reject(new Error('gone')),
        }),
      ),
    onLost: (leases) => void lost.push(...leases),
  })
  return { sender, sent, lost }
}

describe('the sender of parts', () => {
  test('sends the first at once, and what comes meanwhile together, in order', async () => {
    const { sender, sent } = stage()
    sender.send(part(1, 0))
    assert.equal(sent.length, 1)
    for (let n = 1; n < 5; n++) sender.send(part(1, n))
    sent[0]!.answer({})
    await until(() => sent.length === 2)
    assert.deepEqual(
      sent[1]!.parts.map(({ n }) => n),
      [1, 2, 3, 4],
    )
  })

  test('sends the first of another value without a pause', async () => {
    const { sender, sent } = stage()
    sender.send(part(1, 0))
    sent[0]!.answer({})
    await new Promise(setImmediate)
    sender.send(part(1, 1))
    await new Promise(setImmediate)
    assert.equal(sent.length, 1)
    sender.send(part(2, 0))
    await new Promise(setImmediate)
    assert.deepEqual(sent[1]?.parts, [part(1, 1), part(2, 0)])
  })

  test('goes on with what comes after a request that was not answered', async () => {
    const { sender, sent } = stage()
    sender.send(part(1, 0))
    sent[0]!.fail()
    sender.send(part(1, 1))
    await until(() => sent.length === 2)
    assert.deepEqual(sent[1]!.parts, [part(1, 1)])
  })

  test('sends no more of a task that has no reader, and tells of one that is the worker’s no longer', async () => {
    const { sender, sent, lost } = stage()
    sender.send(part(1, 0))
    sender.send(part(1, 1))
    sender.send(part(2, 0))
    sent[0]!.answer({ unread: [1], lost: [1] })
    await until(() => sent.length === 2)
    sender.send(part(1, 2))
    assert.deepEqual([sent[1]!.parts, lost], [[part(2, 0)], [1]])
  })
})
