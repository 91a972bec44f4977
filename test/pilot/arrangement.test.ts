import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { arrange } from '../../src/pilot/arrangement.ts'

const always = () => true
const never = () => false
const slot = (context?: string, usedAt = 0) => ({ context, usedAt })

describe('which context each slot holds', () => {
  test('one that is wanted alone gets all slots', () => {
    assert.deepEqual(arrange([slot(), slot(), slot()], ['a'], always, never), ['a', 'a', 'a'])
  })

  test('several share the slots out, the most wanted first', () => {
    assert.deepEqual(arrange([slot(), slot(), slot()], ['a', 'b'], always, never).sort(), ['a', 'a', 'b'])
    assert.deepEqual(arrange([slot()], ['a', 'b'], always, never), ['a'])
  })

  test('what is loaded stays where it is', () => {
    assert.deepEqual(arrange([slot('b'), slot('a')], ['a', 'b'], always, never), ['b', 'a'])
  })

  test('the least recently used makes room', () => {
    const slots = [slot('x', 3), slot('y', 1), slot('z', 2)]
    assert.deepEqual(arrange(slots, ['a'], always, never), ['a', 'a', 'a'])
    assert.deepEqual(arrange([slot('a', 1), slot('a', 9)], ['a', 'b'], always, always), ['b', 'a'])
    assert.deepEqual(arrange([slot('x', 5), slot('y', 4)], ['x', 'b'], always, never), ['x', 'b'])
  })

  test('an empty slot is taken before a loaded context is let go', () => {
    assert.deepEqual(
      arrange([slot('x', 1), slot()], ['a', 'b'], (id) => id === 'a', never),
      ['x', 'a'],
    )
  })

  test('a context that cannot be loaded yet drives nobody out', () => {
    assert.deepEqual(arrange([slot('x')], ['a'], never, never), ['x'])
  })

  test('with nothing wanted everything stays', () => {
    assert.deepEqual(arrange([slot('x'), slot()], [], always, never), ['x', undefined])
  })

  test('tasks in hand are ended first, where no other slot can', () => {
    assert.deepEqual(arrange([slot('x')], ['a'], always, always), ['x'])
  })

  test('property: nothing appears from nowhere, and what is wanted most has a slot', () => {
    const id = fc.constantFrom<string>('a', 'b', 'c', 'd')
    const slots = fc.array(fc.record({ context: fc.option(id, { nil: undefined }), usedAt: fc.nat(9) }), {
      minLength: 1,
      maxLength: 6,
    })
    fc.assert(
      fc.property(
        slots,
        fc.uniqueArray(id),
        fc.uniqueArray(id),
        fc.uniqueArray(id),
        (views, wanted, loadable, held) => {
          const targets = arrange(
            views,
            wanted,
            (c) => loadable.includes(c),
            (c) => held.includes(c),
          )
          assert.equal(targets.length, views.length)
          for (const [i, target] of targets.entries()) {
            if (target === views[i]!.context) continue
            assert.ok(target !== undefined && wanted.includes(target) && loadable.includes(target))
          }
          const [first] = wanted
          // It waits where every slot ends tasks for others or holds something else that is wanted.
          const before = views.map(({ context }) => context)
          const isStuck = before.every((c) => c !== undefined && (held.includes(c) || wanted.includes(c)))
          if (first !== undefined && loadable.includes(first) && !isStuck) assert.ok(targets.includes(first))
          for (const context of held) assert.ok(!before.includes(context) || targets.includes(context))
          // Once arranged, there is nothing to rearrange.
          const again = targets.map((context, i) => ({ context, usedAt: views[i]!.usedAt }))
          const isLoadable = (c: string) => loadable.includes(c)
          assert.deepEqual(
            arrange(again, wanted, isLoadable, (c) => held.includes(c)),
            targets,
          )
        },
      ),
    )
  })
})
