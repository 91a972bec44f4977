import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startChoice } from '../../../../../src/library/kinds/causal-lm/answers/choice-constraint.ts'
import { findChoiceTokens } from '../../../../../src/library/kinds/causal-lm/prompts/choice-tokens.ts'
import { readTokenizer } from '../../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'

const folder = fileURLToPath(new URL('../../../../../templates/fact-verification/model', import.meta.url))

describe('the tokens that may be part of a choice', () => {
  test('are found in each spelling, with white space around them, and no others', () => {
    const vocabulary = [
      'yes',
      '\u2581yes',
      '\u0120no',
      '##es',
      '<0xE2>',
      '\u010a',
      'maybe',
      'y',
      'ess',
      'no</w>',
      undefined,
    ]
    const found = findChoiceTokens(vocabulary, ['yes', 'no']).map((id) => vocabulary[id])
    assert.deepEqual(found, ['yes', '\u2581yes', '\u0120no', '##es', '<0xE2>', '\u010a', 'y', 'no</w>'])
  })

  test('are those of letters that take several bytes, too, in parts', () => {
    // As byte-level tokenizers spell the three bytes of one letter.
    assert.deepEqual(findChoiceTokens(['\u00e6\u0136\u00af', '\u00e6\u0136', '\u00e5'], ['\u652f']), [0, 1])
  })

  test('leave out none that leads to a choice, of all in the vocabulary of a model', async () => {
    const { decode, candidates, encode } = await readTokenizer(folder)
    const size = 1024
    const choices = ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO', 'NOT', 'Zürich']
    const lean = startChoice(choices, { size, endTokens: new Set([2]), decode, candidates })
    const all = Array.from({ length: size }, (_, token) => token)
    const whole = startChoice(choices, { size, endTokens: new Set([2]), decode, candidates: () => all })
    const after = (start: typeof lean, text: string) =>
      encode(text, false).reduce((state: typeof lean | undefined, token) => state?.follow(token), start)
    for (const text of ['', 'N', 'NOT', 'NOT ', 'Z']) {
      const some = after(lean, text)?.tokens() ?? []
      const every = after(whole, text)?.tokens() ?? []
      // What has no text leads nowhere, and of parts of letters those that are no part of a choice do not either.
      const told = (tokens: readonly number[]) =>
        tokens.filter((token) => decode([token]) !== '' && !decode([token]).includes('\ufffd'))
      assert.deepEqual(told(some), told(every), text)
    }
  })
})
