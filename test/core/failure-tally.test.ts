import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { commonest, kindOf, noErrors, noteError } from '../../src/core/failure-tally.ts'

const error = (message: string, name = 'Error') => ({ name, message })

describe('the kind of an error', () => {
  test('is the same whatever numbers, hashes and quoted texts stand in its message', () => {
    const kinds = [
      'task 17: cannot open "/tmp/a" at 0x7ffe12',
      'task 3: cannot open "/data/b c" at 0xdeadbeef1',
    ].map((message) => kindOf(error(message)))
    assert.equal(kinds[0], kinds[1])
  })

  test('differs with its name and with the words of its message', () => {
    const kinds = [error('no file'), error('no memory'), error('no file', 'TypeError')].map(kindOf)
    assert.equal(new Set(kinds).size, 3)
  })
})

describe('counted errors', () => {
  test('add up to all that were noted, with the commonest first and the first of each as its example', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c', 'd')), (messages) => {
        const counts = noErrors<number>()
        messages.forEach((message, i) => noteError(counts, error(message), () => i))
        const all = commonest(counts, Infinity)
        assert.equal(
          all.reduce((sum, { tasks }) => sum + tasks, counts.others),
          messages.length,
        )
        assert.deepEqual(
          all,
          all.toSorted((a, b) => b.tasks - a.tasks),
        )
        for (const { first } of all) assert.equal(messages.indexOf(messages[first]!), first)
      }),
    )
  })

  test('stay few when every error is of a kind of its own', () => {
    const counts = noErrors<number>()
    const word = (i: number) => i.toString(2).replaceAll('0', 'x').replaceAll('1', 'y')
    for (let i = 0; i < 2_000; i++) noteError(counts, error(word(i)), () => i)
    assert.equal(counts.kinds.size + counts.others, 2_000)
    assert.ok(counts.kinds.size <= 500)
  })
})
