import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { TaskPart } from '../../src/manager/services/jobs/task-parts.ts'
import { AnswerGrowth, EventGrowth } from '../../src/openai/growing-answer.ts'
import { JsonText } from '../../src/protocol/json/json-text.ts'

const part = (lease: number, n: number, value: unknown): TaskPart => ({
  lease,
  n,
  part: new JsonText(JSON.stringify(value)),
})
const generated = (text: string) => ({
  answers: [{ text, finish: 'stop' as const }],
  tokens: { prompt: 1, generated: 1 },
})

describe('an answer that is read as it grows', () => {
  test('comes out whole whatever parts are lost and however often the task is run again', () => {
    const runs = fc.array(fc.array(fc.boolean(), { maxLength: 12 }), { maxLength: 5 })
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 3 }), { maxLength: 12 }), runs, (words, runs) => {
        const texts = new AnswerGrowth()
        const events = new EventGrowth()
        let text = ''
        const given: string[] = []
        for (const [lease, arrives] of runs.entries())
          for (const [n, word] of words.entries()) {
            if (!arrives[n]) continue
            text += texts
              .take(part(lease, n, { text: word }))
              .map((growth) => growth.text)
              .join('')
            given.push(...events.take(part(lease, n, word)))
          }
        assert.ok(words.join('').startsWith(text))
        text += texts.finish(generated(words.join('')))[0]!.text
        given.push(...events.finish(words))
        assert.equal(text, words.join(''))
        assert.deepEqual(
          given,
          words.map((word) => JSON.stringify(word)),
        )
      }),
    )
  })

  test('ends with an error when another run came to something else than was given', () => {
    const texts = new AnswerGrowth()
    texts.take(part(1, 0, { text: 'one' }))
    assert.deepEqual(texts.take(part(2, 0, { text: 'other' })), [])
    assert.throws(() => texts.finish(generated('other')), /another one came to another answer/)
    const events = new EventGrowth()
    events.take(part(1, 0, 'one'))
    assert.deepEqual([...events.take(part(2, 0, 'other')), ...events.take(part(2, 1, 'more'))], [])
    assert.throws(() => events.finish(['other', 'more']), /another one came to another answer/)
  })
})
