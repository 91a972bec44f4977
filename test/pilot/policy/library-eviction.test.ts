import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  chooseOverflow,
  type SlotLibrary,
  makeRoomFor,
  type Usage,
} from '../../../src/pilot/policy/library-eviction.ts'

const usage = (memory: number, device = 0): Usage => ({ memory, device })
const resident = (
  context: string,
  memory: number,
  usedAt: number,
  more: Partial<SlotLibrary> = {},
): SlotLibrary => ({
  context,
  usage: usage(memory),
  usedAt,
  busy: false,
  leaving: false,
  ...more,
})
const BUDGET = usage(10, Infinity)

describe('room for one more library', () => {
  test('is there as long as all fit', () => {
    assert.deepEqual(makeRoomFor([resident('a', 6, 1)], usage(4), BUDGET), { go: [], fits: true })
    assert.deepEqual(makeRoomFor([], usage(99), BUDGET), { go: [], fits: true }, 'alone it is tried anyhow')
  })

  test('is made by those used least recently, and by no more of them than needed', () => {
    const slotLibraries = [resident('a', 3, 3), resident('b', 3, 1), resident('c', 3, 2)]
    assert.deepEqual(makeRoomFor(slotLibraries, usage(2), BUDGET), { go: ['b'], fits: false })
    assert.deepEqual(makeRoomFor(slotLibraries, usage(5), BUDGET), { go: ['b', 'c'], fits: false })
    assert.deepEqual(makeRoomFor(slotLibraries, usage(99), BUDGET), { go: ['b', 'c', 'a'], fits: false })
  })

  test('is not there before those that leave are gone', () => {
    const slotLibraries = [resident('a', 3, 2), resident('b', 5, 1, { leaving: true })]
    assert.deepEqual(makeRoomFor(slotLibraries, usage(6), BUDGET), { go: [], fits: false })
    assert.deepEqual(makeRoomFor(slotLibraries.slice(0, 1), usage(6), BUDGET), { go: [], fits: true })
  })

  test('is waited for if what is busy leaves too little, and nothing goes for nothing', () => {
    const slotLibraries = [resident('a', 6, 9, { busy: true }), resident('b', 3, 1)]
    assert.deepEqual(makeRoomFor(slotLibraries, usage(5), BUDGET), { go: [], fits: false })
    assert.deepEqual(makeRoomFor(slotLibraries, usage(4), BUDGET), { go: ['b'], fits: false })
  })

  test('is counted on the accelerator too', () => {
    const slotLibraries = [
      resident('a', 1, 1, { usage: usage(1, 8) }),
      resident('b', 1, 2, { usage: usage(1, 1) }),
    ]
    assert.deepEqual(makeRoomFor(slotLibraries, usage(1, 4), usage(10, 10)), { go: ['a'], fits: false })
  })
})

test('libraries that grow drive out those used least recently, never the last one or one with calls', () => {
  const grown = [resident('a', 8, 3), resident('b', 3, 1), resident('c', 3, 2)]
  assert.deepEqual(chooseOverflow(grown, BUDGET), ['b', 'c'])
  assert.deepEqual(chooseOverflow([resident('a', 99, 1)], BUDGET), [])
  assert.deepEqual(chooseOverflow([resident('a', 9, 1, { busy: true }), resident('b', 3, 2)], BUDGET), ['b'])
})

test('property: however contexts come, work and grow, their sum stays within the budget, or one is there alone', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const size = fc.record({ memory: fc.integer({ min: 1, max: 14 }), device: fc.integer({ min: 0, max: 14 }) })
  const step = fc.oneof(
    fc.record({ do: fc.constant('bring' as const), name, size }),
    fc.record({ do: fc.constant('run' as const), name }),
    fc.record({ do: fc.constant('grow' as const), name, size }),
  )
  const budget = usage(20, 12)
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let slot: SlotLibrary[] = []
      const letGo = (go: string[]) => {
        const idle = slot.filter(({ busy }) => !busy).sort((a, b) => a.usedAt - b.usedAt)
        assert.deepEqual(
          go,
          idle.slice(0, go.length).map(({ context }) => context),
        )
        slot = slot.filter(({ context }) => !go.includes(context))
      }
      for (const [now, event] of steps.entries()) {
        const known = slot.find(({ context }) => context === event.name)
        if (event.do === 'bring' && !known) {
          const { go } = makeRoomFor(slot, event.size, budget)
          letGo(go)
          const again = makeRoomFor(slot, event.size, budget)
          assert.deepEqual(again.go, [], 'what had to go was not told at once')
          if (!again.fits) assert.ok(slot.some(({ busy }) => busy) && go.length === 0)
          else slot.push({ ...resident(event.name, 0, now), usage: event.size })
        } else if (event.do === 'run' && known) {
          // One at a time has calls.
          slot = slot.map((r) => ({ ...r, busy: r === known, usedAt: r === known ? now : r.usedAt }))
        } else if (event.do === 'grow' && known) {
          slot = slot.map((r) => (r === known ? { ...r, usage: event.size } : r))
          letGo(chooseOverflow(slot, budget))
        }
        const sum = (of: keyof Usage) => slot.reduce((total, r) => total + r.usage[of], 0)
        assert.ok(slot.length <= 1 || (sum('memory') <= budget.memory && sum('device') <= budget.device))
      }
    }),
    { numRuns: 1_000 },
  )
})
