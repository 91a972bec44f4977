import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { findStop } from '../../../../../src/library/kinds/causal-lm/answers/stop-strings.ts'
import { createTextGrowth } from '../../../../../src/library/kinds/causal-lm/answers/text-growth.ts'
import {
  readTokenizer,
  type Tokenizer,
} from '../../../../../src/library/kinds/causal-lm/prompts/tokenizer.ts'

const root = join(import.meta.dirname, '../../../../..')
const folders = ['templates/fact-verification/model', 'test/fixtures/models/grouped-query']

/** A tokenizer that writes words with a space before each, and takes it off before marks, as those for BERT do. */
const tidy: Tokenizer['decode'] = (tokens) =>
  tokens
    .map((token) => ["it's", 'do', "n't", '.', ',', "'", "'ve", '!', '?', 'word'][token % 10])
    .join(' ')
    .replace(/ ([.?!,])/g, '$1')
    .replaceAll(" ' ", "'")
    .replace(/ (n't|'m|'s|'ve|'re)/g, '$1')

describe('the growth of a text', () => {
  const decoders = async () => [
    tidy,
    ...(await Promise.all(folders.map((folder) => readTokenizer(join(root, folder))))).map(
      ({ decode }) => decode,
    ),
  ]
  const tokens = fc.array(fc.nat(255), { maxLength: 120 })

  test('is always the beginning of the finished text, and all of it but for what may yet change', async () => {
    for (const decode of await decoders())
      fc.assert(
        fc.property(tokens, (tokens) => {
          const growth = createTextGrowth([], decode)
          let given = ''
          for (let i = 1; i <= tokens.length; i++) {
            given += growth(tokens.slice(0, i))
            const whole = decode(tokens.slice(0, i))
            assert.ok(whole.startsWith(given))
            assert.match(whole.slice(given.length), /^ ?(?:n'?|'[vr]?)?\ufffd*$/)
          }
          assert.ok(decode(tokens).startsWith(given))
        }),
      )
  })

  test('never shows a part of a stop string that the text ends at', () => {
    const stops = fc.array(fc.string({ minLength: 1, maxLength: 4, unit: fc.constantFrom('a', 'b', 'ä') }), {
      minLength: 1,
      maxLength: 3,
    })
    const letters = fc.array(fc.constantFrom('a', 'b', 'ä'), { maxLength: 80 })
    const decode = (tokens: readonly number[]) => Buffer.from(tokens).toString('utf8')
    fc.assert(
      fc.property(letters, stops, (letters, stops) => {
        const tokens = [...Buffer.from(letters.join(''))]
        const growth = createTextGrowth(stops, decode)
        let given = ''
        for (let i = 1; i <= tokens.length; i++) {
          const text = decode(tokens.slice(0, i))
          const end = findStop(text, stops)
          if (end !== undefined) return assert.ok(text.slice(0, end).startsWith(given))
          given += growth(tokens.slice(0, i))
        }
      }),
    )
  })
})
