import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import fc from 'fast-check'
import { awaitUploadSlot, createUploadSlots } from '../../../src/bundle/upload/upload-slots.ts'

let now = 0

beforeEach(() => {
  now = 0
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(performance, 'now', () => now)
})
afterEach(() => {
  mock.timers.reset()
  mock.restoreAll()
})

function pass(ms: number) {
  for (let step = 0; step < ms; step++) {
    now++
    mock.timers.tick(1)
  }
}

describe('turns to upload', () => {
  /** Asks for so many turns; tells how many have begun, and gives a way to end each. */
  const ask = (uploadSlots: ReturnType<typeof createUploadSlots>, count: number) => {
    const asked = { begun: [] as number[], ends: [] as ((() => void) | undefined)[] }
    for (let index = 0; index < count; index++)
      asked.ends.push(uploadSlots.turn(() => void asked.begun.push(index)))
    return asked
  }

  test('few begin together; the next when one ends, or takes longer than is usual', () => {
    const asked = ask(createUploadSlots({ atOnce: 2, patienceMs: 20 }), 6)
    assert.deepEqual(asked.begun, [0, 1])
    asked.ends[0]!()
    assert.deepEqual(asked.begun, [0, 1, 2])
    pass(19)
    assert.equal(asked.begun.length, 3)
    pass(1)
    assert.deepEqual(asked.begun, [0, 1, 2, 3, 4])
  })

  test('one that is given up before it came, or ended twice, takes no other’s', () => {
    const asked = ask(createUploadSlots({ atOnce: 1 }), 4)
    asked.ends[1]!()
    asked.ends[0]!()
    asked.ends[0]!()
    assert.deepEqual(asked.begun, [0, 2])
  })

  test('of those that wait, a party that has fewer comes before others that came earlier', () => {
    const slots = createUploadSlots({ atOnce: 12, patienceMs: 1000 })
    const begun: string[] = []
    const ends = ['one', 'two'].flatMap((party) =>
      Array.from({ length: 10 }, () => slots.turn(() => void begun.push(party), party)),
    )
    assert.equal(begun.length, 12)
    slots.turn(() => void begun.push('other'), 'other')
    ends[0]!()
    assert.equal(begun[12], 'other')
  })

  test('a party that is slow with many holds up another no longer than its share of the patience', () => {
    const slots = createUploadSlots({ atOnce: 12, patienceMs: 1000 })
    for (const party of ['one', 'two']) for (let count = 0; count < 10; count++) slots.turn(() => {}, party)
    const begun: string[] = []
    pass(90)
    slots.turn(() => void begun.push('other'), 'other')
    assert.deepEqual(begun, [])
    pass(10)
    assert.deepEqual(begun, ['other'])
  })

  test('a party that is alone has all turns', () => {
    const slots = createUploadSlots({ atOnce: 12 })
    let begun = 0
    for (let count = 0; count < 20; count++) slots.turn(() => void begun++, 'one')
    assert.equal(begun, 12)
  })

  test('too many that wait are refused', () => {
    const { ends } = ask(createUploadSlots({ atOnce: 1, waiting: 2 }), 4)
    assert.deepEqual(
      ends.map((end) => end !== undefined),
      [true, true, true, false],
    )
  })

  test('whatever happens, all come, in order, and few begin together', () => {
    const steps = fc.array(fc.oneof(fc.constant('ask'), fc.nat(30), fc.record({ end: fc.nat(50) })))
    fc.assert(
      fc.property(steps, (steps) => {
        const uploadSlots = createUploadSlots({ atOnce: 3, patienceMs: 10 })
        const begun: { id: number; at: number; ended: boolean }[] = []
        const ends: (() => void)[] = []
        for (const step of steps) {
          if (step === 'ask') {
            const id = ends.length
            ends.push(uploadSlots.turn(() => begun.push({ id, at: now, ended: false }))!)
          } else if (typeof step === 'number') pass(step)
          else if (begun[step.end]?.ended === false) {
            begun[step.end]!.ended = true
            ends[begun[step.end]!.id]!()
          }
          assert.ok(begun.filter(({ at, ended }) => !ended && now - at < 10).length <= 3)
        }
        pass(10 * ends.length)
        assert.deepEqual(
          begun.map(({ id }) => id),
          ends.map((_, id) => id),
        )
      }),
      { numRuns: 50 },
    )
  })
})

describe('waiting for a turn', () => {
  test('ends when the client is gone or it takes too long, and the turn goes to the next', async () => {
    const uploadSlots = createUploadSlots({ atOnce: 1, patienceMs: 60_000 })
    const endFirst = await awaitUploadSlot(uploadSlots, new AbortController().signal)
    const leaves = new AbortController()
    const left = awaitUploadSlot(uploadSlots, leaves.signal)
    const slow = awaitUploadSlot(uploadSlots, new AbortController().signal)
    leaves.abort()
    assert.equal(await left, undefined)
    pass(3_000)
    assert.equal(await slow, undefined)
    const next = awaitUploadSlot(uploadSlots, new AbortController().signal)
    endFirst!()
    assert.ok(await next)
    assert.equal(await awaitUploadSlot(uploadSlots, AbortSignal.abort()), undefined)
  })
})
