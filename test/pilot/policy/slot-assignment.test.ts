import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { assignSlots } from '../../../src/pilot/policy/slot-assignment.ts'

const always = () => true
const never = () => false
const slot = (context?: string, usedAt = 0, ...resting: string[]) => ({
  context,
  holds: context === undefined ? resting : [context, ...resting],
  usedAt,
})

describe('which context each slot holds', () => {
  test('one that is wanted alone gets all slots', () => {
    assert.deepEqual(assignSlots([slot(), slot(), slot()], ['a'], always, never), ['a', 'a', 'a'])
  })

  test('several share the slots out, the most wanted first', () => {
    assert.deepEqual(assignSlots([slot(), slot(), slot()], ['a', 'b'], always, never).sort(), ['a', 'a', 'b'])
    assert.deepEqual(assignSlots([slot()], ['a', 'b'], always, never), ['a'])
  })

  test('what is loaded stays where it is', () => {
    assert.deepEqual(assignSlots([slot('b'), slot('a')], ['a', 'b'], always, never), ['b', 'a'])
  })

  test('the least recently used makes room', () => {
    const slots = [slot('x', 3), slot('y', 1), slot('z', 2)]
    assert.deepEqual(assignSlots(slots, ['a'], always, never), ['a', 'a', 'a'])
    assert.deepEqual(assignSlots([slot('a', 1), slot('a', 9)], ['a', 'b'], always, always), ['b', 'a'])
    assert.deepEqual(assignSlots([slot('x', 5), slot('y', 4)], ['x', 'b'], always, never), ['x', 'b'])
  })

  test('an empty slot is taken before a loaded context is let go', () => {
    assert.deepEqual(
      assignSlots([slot('x', 1), slot()], ['a', 'b'], (id) => id === 'a', never),
      ['x', 'a'],
    )
  })

  test('a context that cannot be loaded yet drives out no other', () => {
    assert.deepEqual(assignSlots([slot('x')], ['a'], never, never), ['x'])
  })

  test('with nothing wanted everything stays', () => {
    assert.deepEqual(assignSlots([slot('x'), slot()], [], always, never), ['x', undefined])
  })

  test('a slot whose tasks no other can end turns last', () => {
    const slots = [slot('x', 1), slot('y', 2)]
    assert.deepEqual(assignSlots(slots, ['a'], always, (id) => id === 'x').sort(), ['a', 'a'])
    assert.deepEqual(
      assignSlots(
        [...slots, slot('b')],
        ['a', 'b', 'c'],
        (id) => id !== 'c',
        (id) => id === 'x',
      ),
      ['x', 'a', 'b'],
    )
  })

  test('where a library rests is where its context goes, even if it could not be loaded anew', () => {
    assert.deepEqual(assignSlots([slot('x', 1), slot('y', 9, 'a')], ['a', 'x'], always, never), ['x', 'a'])
    assert.deepEqual(assignSlots([slot(), slot('y', 9, 'a')], ['a', 'b'], never, never), [undefined, 'a'])
  })

  test('property: nothing appears from nowhere, and what is wanted most has a slot', () => {
    const id = fc.constantFrom<string>('a', 'b', 'c', 'd')
    const slots = fc.array(
      fc
        .record({
          context: fc.option(id, { nil: undefined }),
          resting: fc.uniqueArray(id),
          usedAt: fc.nat(9),
        })
        .map(({ context, resting, usedAt }) => slot(context, usedAt, ...resting)),
      { minLength: 1, maxLength: 6 },
    )
    fc.assert(
      fc.property(
        slots,
        fc.uniqueArray(id),
        fc.uniqueArray(id),
        fc.uniqueArray(id),
        (views, wanted, loadable, held) => {
          const isLoadable = (c: string) => loadable.includes(c)
          const isHeld = (c: string) => held.includes(c)
          const targets = assignSlots(views, wanted, isLoadable, isHeld)
          assert.equal(targets.length, views.length)
          for (const [i, target] of targets.entries()) {
            const { context, holds } = views[i]!
            if (target === context) continue
            assert.ok(target !== undefined && wanted.includes(target))
            assert.ok(loadable.includes(target) || holds.includes(target))
          }
          const [first] = wanted
          // It waits where every slot has something else that is wanted.
          const isStuck = views.every(({ context }) => context !== undefined && wanted.includes(context))
          if (first !== undefined && isLoadable(first) && !isStuck) assert.ok(targets.includes(first))
          // Once arranged, there is nothing to rearrange.
          const again = targets.map((context, i) => ({ ...views[i]!, context }))
          assert.deepEqual(assignSlots(again, wanted, isLoadable, isHeld), targets)
        },
      ),
    )
  })
})
