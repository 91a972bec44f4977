import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createPrompter } from '../../../../../src/library/kinds/causal-lm/prompts/prompt.ts'
import { mergeSettings } from '../../../../../src/library/kinds/causal-lm/answers/answer-settings.ts'
import { ContextFilesError, InputError } from '../../../../../src/common/task-errors.ts'
import type { JsonValue } from '../../../../../src/protocol/primitives.ts'
import { toyTokenizer } from '../toy-model.ts'

const limits = { maxTokens: 40, vocabSize: 54 }
type Options = Parameters<typeof createPrompter>[0]

const textOf = (options: Options, input: JsonValue, tokenizer = toyTokenizer) =>
  toyTokenizer.decode(createPrompter(options, tokenizer, limits)(input, mergeSettings()).tokens)
const rejects = (options: Options, input: JsonValue, message: RegExp, tokenizer = toyTokenizer) => {
  const prompt = createPrompter(options, tokenizer, limits)
  assert.throws(
    () => prompt(input, mergeSettings()),
    (error) => error instanceof InputError && message.test(error.message),
  )
}
const plain = { ...toyTokenizer, chat: undefined }

describe('a prompt', () => {
  test('is made of message templates by the chat template', () => {
    const messages = [
      { role: 'system' as const, content: 'be brief' },
      { role: 'user' as const, content: 'is {{ it }} so' },
    ]
    assert.equal(textOf({ messages }, { it: 'this' }), 'system be brief user is this so ')
    rejects({ messages }, { that: 'x' }, /no field "it"/)
  })

  test('is made of a text template without one', () => {
    assert.equal(textOf({ prompt: 'say {{ word }}' }, { word: 'hi' }), 'say hi')
    assert.equal(textOf({ prompt: 'say {{ input }}' }, 'hi', plain), 'say hi')
  })

  test('is the input itself where the function has no template', () => {
    assert.equal(textOf({}, 'as it is'), 'as it is')
    assert.equal(textOf({}, { prompt: 'as it is' }), 'as it is')
    assert.equal(textOf({}, { messages: [{ role: 'user', content: 'hi' }] }), 'user hi ')
    for (const input of [5, null, [], { messages: [] }, { messages: [{ role: 'user' }] }, { text: 'x' }]) {
      rejects({}, input, /not a prompt/)
    }
  })

  test('gets the special tokens of plain text, unless a chat template has put them in', () => {
    const asked: boolean[] = []
    const tokenizer = {
      ...toyTokenizer,
      encode: (text: string, special: boolean) => {
        asked.push(special)
        return toyTokenizer.encode(text, special)
      },
    }
    textOf({}, 'text', tokenizer)
    textOf({ prompt: 'text' }, {}, tokenizer)
    textOf({ messages: [{ role: 'user', content: 'hi' }] }, {}, tokenizer)
    assert.deepEqual(asked, [true, true, false])
  })

  test('needs a chat template for messages', () => {
    const messages = [{ role: 'user' as const, content: 'hi' }]
    assert.throws(() => createPrompter({ messages }, plain, limits), ContextFilesError)
    rejects({}, { messages }, /no chat template/, plain)
  })

  test('must have a length that the model takes', () => {
    rejects({}, '', /empty/)
    rejects({}, 'x'.repeat(41), /41 tokens, of which 40 are allowed/)
    assert.equal(textOf({}, 'x'.repeat(40)).length, 40)
  })

  test('that is too long loses what its settings say, and keeps room for its answer', () => {
    const text = 'abcdefghijklmnopqrstuvwxyz'
    const cut = (truncate: 'start' | 'middle' | 'end', maxPositions: number, tokenizer = toyTokenizer) => {
      const prompt = createPrompter({}, tokenizer, { ...limits, maxTokens: 20, maxPositions })
      const { tokens, leftOut } = prompt(text, mergeSettings({ truncate, maxNewTokens: 10 }))
      return [toyTokenizer.decode(tokens), leftOut]
    }
    assert.deepEqual(cut('start', 40), [text.slice(6), 6])
    assert.deepEqual(cut('end', 40), [text.slice(0, 20), 6])
    assert.deepEqual(cut('middle', 40), [text.slice(0, 10) + text.slice(16), 6])
    assert.deepEqual(cut('end', 25), [text.slice(0, 15), 11])
    assert.deepEqual(cut('end', 12), [text.slice(0, 6), 20])
    const [begin] = toyTokenizer.encode('X', false) as [number]
    const marked = {
      ...toyTokenizer,
      encode: (said: string, special: boolean) => [
        ...(special ? [begin] : []),
        ...toyTokenizer.encode(said, false),
      ],
    }
    assert.deepEqual(cut('start', 40, marked), [`X${text.slice(7)}`, 7])
    assert.deepEqual(cut('end', 100), [text.slice(0, 20), 6])
    const whole = createPrompter({}, toyTokenizer, limits)(text, mergeSettings({ truncate: 'end' }))
    assert.equal(whole.leftOut, 0)
  })

  test('must be of tokens that the model has', () => {
    rejects({}, 'text', /no token 99/, { ...toyTokenizer, encode: () => [1, 99] })
  })
})
