import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { InputError, SchemaError } from '../../../../../src/common/task-errors.ts'
import { loadContext } from '../../../../../src/library/kinds/load-context.ts'
import type { LoadedContext } from '../../../../../src/library/runtime/library-kind.ts'
import { filterScores } from '../../../../../src/library/kinds/causal-lm/grammar/json-schema-filters.ts'
import type { JsonValue } from '../../../../../src/protocol/primitives.ts'
import { runAll, valuesOf } from '../../../support/recording-reporter.ts'
import { toSetup } from '../../../support/setup-message.ts'

interface Value {
  text: string
  finish: string
}

const person = {
  type: 'object',
  properties: {
    verdict: { enum: ['SUPPORTS', 'REFUTES', 'NOT ENOUGH INFO'] },
    sure: { type: 'boolean' },
    marks: { type: 'array', items: { enum: ['a', 'é€😀'] }, minItems: 1, maxItems: 3 },
  },
  required: ['verdict', 'sure', 'marks'],
  additionalProperties: false,
}

describe('answers that must be JSON of a schema, by a model of random weights', () => {
  let context: LoadedContext
  before(async () => {
    const folder = join(import.meta.dirname, '../../../../fixtures/models/grouped-query')
    context = await loadContext(
      toSetup(
        {
          library: 'causal-lm',
          setup: { model: 'model' },
          functions: { generate: {}, held: { schema: person }, one: { choices: ['a', 'b'] } },
        },
        { model: folder },
      ),
    )
  })
  after(() => context.close())

  const ask = (schema: JsonValue, i: number, more: object = {}) => ({
    prompt: `Prompt ${i}`,
    generation: { schema, maxNewTokens: 300, temperature: 1, seed: i, ...more },
  })

  test('are such, whatever the prompt and the penalties, beside answers that need not be', async () => {
    const inputs = Array.from({ length: 24 }, (_, i) =>
      i % 4 === 3
        ? { prompt: `Free ${i}`, generation: { maxNewTokens: 20 } }
        : ask(person, i, i % 2 === 0 ? { repetitionPenalty: 1.5 } : { minNewTokens: 290 }),
    )
    const values = await valuesOf<Value>(context, 'generate', inputs)
    for (const [i, { text, finish }] of values.entries()) {
      if (i % 4 === 3) continue
      assert.equal(finish, 'stop')
      const { verdict, sure, marks, ...rest } = JSON.parse(text) as Record<string, unknown>
      assert.ok(person.properties.verdict.enum.includes(verdict as string))
      assert.equal(typeof sure, 'boolean')
      assert.ok(Array.isArray(marks) && marks.length >= 1 && marks.length <= 3)
      assert.ok(marks.every((mark) => person.properties.marks.items.enum.includes(mark as string)))
      assert.deepEqual(rest, {})
    }
    const [held] = await valuesOf<Value>(context, 'held', [ask(person, 1)])
    assert.equal(held!.text, values[1]!.text)
  })

  test('come several to one prompt, each held to it by itself', async () => {
    const [value] = await valuesOf<{ answers: Value[] }>(context, 'generate', [
      ask({ type: 'boolean' }, 1, { n: 6 }),
    ])
    assert.deepEqual(new Set(value!.answers.map(({ text }) => text.trim())), new Set(['true', 'false']))
  })

  test('have an error that says what is wrong with a schema, and the schemas after it are none the worse', async () => {
    const wrong = [{ type: 'nonsense' }, { $ref: '#/nowhere' }, { type: 'string', pattern: '(' }]
    const outcomes = await runAll(
      context,
      'generate',
      [...wrong, { type: 'null' }].map((schema, i) => ask(schema, i)),
    )
    const errors = outcomes.slice(0, 3).map((outcome) => ('error' in outcome ? outcome.error : undefined))
    for (const [i, says] of [/type "nonsense"/, /field nowhere/, /parenthesis is not closed/].entries()) {
      assert.ok(errors[i] instanceof SchemaError)
      assert.match(errors[i].message, says)
    }
    assert.equal((outcomes[3] as { value: Value }).value.text.trim(), 'null')
  })

  test('are refused where the answer is one of some choices already', async () => {
    const [outcome] = await runAll(context, 'one', [ask(person, 1)])
    assert.ok(outcome && 'error' in outcome && outcome.error instanceof InputError)
  })
})

test('a filter leaves the scores of what is allowed as they are, and no others', () => {
  const scores = Float32Array.from({ length: 70 }, (_, i) => i)
  const allowed = Int32Array.from([-1, 0, (1 << 5) | 1])
  const kept = [...filterScores(scores, allowed).entries()].filter(([, score]) => score !== -Infinity)
  assert.deepEqual(kept, [...Array.from({ length: 32 }, (_, i) => [i, i]), [64, 64], [69, 69]])
  assert.equal(scores[40], 40)
})
