import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { plainLength, readToolCalls, type Tool } from '../../src/openai/tool-calls.ts'

const tools = ['weather', 'time'].map((name): Tool => ({ type: 'function', function: { name } }))
const read = (text: string) => {
  const { content, calls } = readToolCalls(text, tools)
  return [content, ...calls.map(({ function: { name, arguments: text } }) => `${name} ${text}`)]
}

describe('calls of tools in the text of a model', () => {
  test('are read in the forms of Hermes and Qwen, of Mistral and of Llama', () => {
    const both =
      '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n<tool_call>{"name":"time"}</tool_call>'
    assert.deepEqual(read(`Let me see.\n${both}`), ['Let me see.\n', 'weather {"city":"Rome"}', 'time {}'])
    const list = '[{"name": "weather", "arguments": {"city": "Rome"}}]'
    assert.deepEqual(read(`[TOOL_CALLS] ${list}`), ['', 'weather {"city":"Rome"}'])
    assert.deepEqual(read(` ${list}`), ['', 'weather {"city":"Rome"}'])
    assert.deepEqual(read('{"name": "weather", "parameters": {"city": "Rome"}}'), [
      '',
      'weather {"city":"Rome"}',
    ])
  })

  test('stay text when they are broken off, or of tools that were not offered', () => {
    for (const text of [
      '<tool_call>{"name": "weather"',
      '<tool_call>{"name": "bank"}</tool_call>',
      '{"name": "bank", "parameters": {}}',
      '[]',
      '{"a": 1}',
      'weather',
    ])
      assert.deepEqual(read(text), [text])
  })

  test('are never begun to be shown as text', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '<', '<tool', ' ', '{'), maxLength: 12 })
    fc.assert(
      fc.property(text, (before) => {
        const whole = `${before}<tool_call>{"name":"time"}</tool_call>`
        const { content } = readToolCalls(whole, tools)
        for (let length = 0; length <= whole.length; length++) {
          const shown = whole.slice(0, plainLength(whole.slice(0, length)))
          assert.ok(content.startsWith(shown))
        }
      }),
    )
  })
})
