import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  type ChoiceState,
  reachable,
  startChoice,
  type Vocabulary,
} from '../../../../../src/library/kinds/causal-lm/answers/choice-constraint.ts'
import { ContextFilesError } from '../../../../../src/common/task-errors.ts'
import { letters, toyTokenizer } from '../toy-model.ts'

const END = 0
const characters: Vocabulary = {
  size: letters.length,
  endTokens: new Set([END]),
  decode: toyTokenizer.decode,
  candidates: toyTokenizer.candidates,
}

/** A vocabulary of whole pieces of text; the first is the end token. */
function pieces(...texts: string[]): Vocabulary {
  const decode = (tokens: readonly number[]) => tokens.map((token) => texts[token]).join('')
  const candidates = () => [...texts.keys()]
  return { size: texts.length, endTokens: new Set([END]), decode, candidates }
}

function follow(state: ChoiceState, tokens: readonly number[]): ChoiceState | undefined {
  return tokens.reduce<ChoiceState | undefined>((at, token) => at?.follow(token), state)
}

describe('what a text can still become', () => {
  const choices = ['yes', 'yes but', 'no']
  test('is each choice it is the beginning of', () => {
    assert.deepEqual(reachable('', choices), choices)
    assert.deepEqual(reachable('y', choices), ['yes', 'yes but'])
    assert.deepEqual(reachable('yes ', choices), ['yes', 'yes but'], 'white space may follow a whole choice')
    assert.deepEqual(reachable('yes\n\n', choices), ['yes'])
    assert.deepEqual(reachable('\n no', choices), ['no'])
    assert.deepEqual(reachable('nothing', choices), [])
    assert.deepEqual(reachable('No', choices), [])
  })

  test('is open where a character is not whole yet', () => {
    assert.deepEqual(reachable('\ufffd', ['支持', '反对', 'none']), ['支持', '反对'])
    assert.deepEqual(reachable('支\ufffd\ufffd', ['支持', '支']), ['支持'])
  })
})

describe('an answer among choices', () => {
  test('is settled by the first token after which only one is left', () => {
    const start = startChoice(['SUPPORTS', 'REFUTES', 'NO'], pieces('', 'S', 'SUPP', 'REF', ' ', 'NO', 'x'))
    assert.equal(start.label, undefined)
    assert.equal(start.follow(1)?.label, 'SUPPORTS')
    assert.equal(follow(start, [4, 4, 3])?.label, 'REFUTES')
    assert.equal(start.follow(6), undefined)
    assert.equal(start.follow(0), undefined, 'an answer that is no choice may not end')
    assert.deepEqual(start.tokens(), [1, 2, 3, 4, 5])
  })

  test('is settled by its end where another choice goes on', () => {
    const start = startChoice(['no', 'no idea'], pieces('', 'no', ' idea', ' ', 'i'))
    const no = start.follow(1)
    assert.equal(no?.label, undefined)
    assert.deepEqual(no?.tokens(), [0, 2, 3])
    assert.equal(no.follow(0)?.label, 'no')
    assert.equal(no.follow(2)?.label, 'no idea')
    assert.equal(follow(start, [1, 3, 4])?.label, 'no idea')
    assert.equal(follow(start, [1, 3, 0])?.label, 'no')
  })

  test('is given as the user wrote it', () => {
    assert.equal(startChoice([' yes ', 'no'], pieces('', 'yes')).follow(1)?.label, ' yes ')
  })

  test('is settled from the start if there is one choice only', () => {
    assert.equal(startChoice(['only'], pieces('')).label, 'only')
  })

  test('cannot be told apart if two choices are alike', () => {
    assert.throws(() => startChoice(['yes', 'yes '], pieces('')), ContextFilesError)
  })

  test('can be spelt in any way the vocabulary allows', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', ' '), minLength: 1, maxLength: 4 })
    const choices = fc.uniqueArray(word, { minLength: 1, maxLength: 5, selector: (choice) => choice.trim() })
    fc.assert(
      fc.property(
        choices,
        fc.array(fc.constantFrom(...toyTokenizer.encode(' ab', false), END), { maxLength: 7 }),
        (all, tokens) => {
          let state: ChoiceState | undefined = startChoice(all, characters)
          for (const token of tokens) {
            if (!state || state.label !== undefined) break
            assert.equal(state.tokens().includes(token), state.follow(token) !== undefined)
            state = state.follow(token)
          }
          const end = tokens.indexOf(END)
          const text = toyTokenizer.decode(end < 0 ? tokens : tokens.slice(0, end)).trim()
          const said = all.find((choice) => choice.trim() === text)
          if (said !== undefined && end >= 0)
            assert.equal(state?.label, said, 'a complete choice must be found')
          if (state?.label !== undefined) assert.ok(said === undefined || said === state.label)
        },
      ),
    )
  })
})
