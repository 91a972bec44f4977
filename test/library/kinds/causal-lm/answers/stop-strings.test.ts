import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createStopper, findStop } from '../../../../../src/library/kinds/causal-lm/answers/stop-strings.ts'

describe('a stop string', () => {
  test('is found where the first of several begins', () => {
    assert.equal(findStop('one\ntwo END', ['END', '\n']), 3)
    assert.equal(findStop('one', ['END', '\n']), undefined)
  })

  test('ends the text before it, however tokens cut it', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', ''), maxLength: 30 })
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é'), minLength: 1, maxLength: 5 }), {
      minLength: 1,
      maxLength: 3,
    })
    fc.assert(
      fc.property(fc.array(text, { maxLength: 40 }), stops, (pieces, all) => {
        const stopper = createStopper(all, (tokens) => tokens.map((token) => pieces[token]).join(''))
        const tokens: number[] = []
        let stopped: string | undefined
        while (stopped === undefined && tokens.length < pieces.length) {
          if (pieces[tokens.length] === '') return
          tokens.push(tokens.length)
          stopped = stopper(tokens)
        }
        const whole = tokens.map((token) => pieces[token]).join('')
        const end = findStop(whole, all)
        assert.equal(stopped, end === undefined ? undefined : whole.slice(0, end))
      }),
    )
  })

  test('is not looked for where there is none', () => {
    const stopper = createStopper([], () => assert.fail('decoded for nothing'))
    assert.equal(stopper([1, 2]), undefined)
  })
})
