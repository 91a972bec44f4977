import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { closeAccount, enter, noSlotTime, openAccount, settle, slotUse } from '../../src/core/slot-time.ts'

const total = (spent: ReturnType<typeof noSlotTime>) => Object.values(spent).reduce((sum, ms) => sum + ms, 0)

test('a worker that boots, fetches, loads, works and idles has its time entered as that', () => {
  const spent = noSlotTime()
  const account = openAccount(2, spent, 500, 1_000)
  enter(account, slotUse(2, [{ level: 'absent', doing: 'fetching' }], 0), 1_100)
  enter(account, slotUse(2, [{ level: 'disk', doing: 'loading' }], 0), 1_300)
  enter(account, slotUse(2, [{ level: 'memory' }], 5), 1_600)
  enter(account, slotUse(2, [{ level: 'memory' }], 1), 2_000)
  settle(account)
  enter(account, slotUse(2, [{ level: 'memory' }], 0), 2_100)
  settle(account)
  assert.equal(closeAccount(account, 2_200), 0)
  assert.deepEqual(spent, { boot: 1_000, fetch: 400, load: 600, inference: 900, idle: 500, lost: 0 })
})

test('time with tasks in hand is lost when the worker is gone before it reports', () => {
  const spent = noSlotTime()
  const account = openAccount(4, spent, 0, 0)
  enter(account, slotUse(4, [{ level: 'device' }], 100), 0)
  enter(account, slotUse(4, [{ level: 'device' }], 100), 1_000)
  settle(account)
  assert.equal(closeAccount(account, 1_500), 2_000)
  assert.deepEqual(spent, { ...noSlotTime(), inference: 4_000, lost: 2_000 })
})

test('whatever workers say and however clocks jump, no total shrinks, and all of them make up the time that went by', () => {
  const step = fc.record({
    ms: fc.integer({ min: -1_000, max: 1_000 }),
    level: fc.constantFrom('absent', 'disk', 'memory', 'device'),
    doing: fc.option(fc.constantFrom('fetching' as const, 'loading' as const), { nil: undefined }),
    inHand: fc.nat(10),
    settles: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step), (slots, steps) => {
      const spent = noSlotTime()
      let now = 0
      let passed = 0
      const account = openAccount(slots, spent, 0, now)
      for (const { ms, level, doing, inHand, settles } of steps) {
        const before = { ...spent }
        now += ms
        passed += Math.max(0, ms)
        enter(account, slotUse(slots, [{ level, doing }], inHand), now)
        if (settles) settle(account)
        for (const [key, value] of Object.entries(before))
          assert.ok(spent[key as keyof typeof spent] >= value)
        const { fetching, loading, working, idle } = account.use
        assert.equal(fetching + loading + working + idle, slots)
      }
      closeAccount(account, now)
      assert.equal(total(spent), passed * slots)
    }),
  )
})
