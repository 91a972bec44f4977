import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../../src/protocol/limits.ts'
import { JsonText } from '../../../src/protocol/json/json-text.ts'
import { JsonTextError, readJson, type ReadOptions } from '../../../src/manager/http/read-json.ts'

/** What the text says, and in how many steps it was read. */
function read(text: string | Buffer, options?: ReadOptions): { value: unknown; steps: number } {
  const reading = readJson(Buffer.from(text), options)
  for (let steps = 1; ; steps++) {
    const { done, value } = reading.next()
    if (done) return { value, steps }
  }
}

const keep = ['tasks', '*', 'input'] as const
const inputs = (text: string) =>
  (read(text, { keep }).value as { tasks: { input: unknown }[] }).tasks.map(({ input }) => input)

/** JSON text with white space here and there, and keys and characters that only look like what they are not. */
const jsonText = fc
  .tuple(fc.json({ maxDepth: 6 }), fc.constantFrom('', ' ', '\n\t', '\r'))
  .map(([text, space]) => text.replaceAll(/([[\]{},:])(?=(?:[^"]*"[^"]*")*[^"]*$)/g, `$1${space}`))

/** The same after one character of it was changed, put in, or left out. */
const damagedText = fc
  .tuple(
    jsonText,
    fc.nat(),
    fc.constantFrom('', '"', '\\', ',', ':', '[', '}', '0', '-', '.', 'e', '\u0001', 'u'),
    fc.boolean(),
  )
  .map(([text, at, put, over]) => {
    const i = at % (text.length + 1)
    return text.slice(0, i) + put + text.slice(i + Number(over))
  })

describe('JSON text', () => {
  test('is taken as JSON.parse takes it, and refused where that refuses it', () => {
    const said = (run: () => unknown) => {
      try {
        return { value: run() }
      } catch {
        return 'refused'
      }
    }
    fc.assert(
      fc.property(fc.oneof(jsonText, damagedText), (text) => {
        const expected = said(() => JSON.parse(Buffer.from(text).toString()))
        assert.deepEqual(
          said(() => read(text).value),
          expected,
        )
        // As a value that is kept it is checked by other means, and must mean the same.
        const kept = said(
          () =>
            inputs(`{"tasks":[{"input":${text}}]}`).map(
              (input) => JSON.parse((input as JsonText).text) as unknown,
            )[0],
        )
        // What closes the array and opens another one is JSON again as a whole.
        if (expected !== 'refused') assert.deepEqual(kept, expected)
        else if (!/[\]}]/.test(text)) assert.equal(kept, 'refused')
      }),
      { numRuns: 500 },
    )
  })

  test('is kept where it is asked for, as it came but for white space, and nowhere else', () => {
    const text = `{ "tasks": [
      { "key": "a", "input": { "n" : 12345678901234567890, "s": " a \\u0041 b ", "f": 1.0 } },
      { "input": [ ], "key": "b", "more": { "input": 1 } }, { "\\u0069nput": -0 }, 7, [ { "input": 2 } ] ],
      "input": 3, "tasks2": [ { "input": 4 } ] }`
    const { value } = read(text, { keep })
    assert.deepEqual(value, {
      tasks: [
        { key: 'a', input: new JsonText('{"n":12345678901234567890,"s":" a \\u0041 b ","f":1.0}') },
        { input: new JsonText('[]'), key: 'b', more: { input: 1 } },
        { input: new JsonText('-0') },
        7,
        [{ input: 2 }],
      ],
      input: 3,
      tasks2: [{ input: 4 }],
    })
  })

  test('that says twice what is to be kept is refused', () => {
    assert.throws(() => inputs('{"tasks":[{"input":1,"input":[2]},{"input":3}]}'), /tasks\.\*\.input twice/)
    assert.throws(() => inputs('{"tasks":[{"input":1}],"tasks":[{"input":1}]}'), /twice/)
  })

  test('costs what its values cost: too many are refused, but not inside of what is kept', () => {
    const many = `[${Array.from({ length: limits.values }, () => '[]').join(',')}]`
    assert.throws(() => read(many), /more than 320000 values: send it in parts/)
    assert.equal(inputs(`{"tasks":[{"input":${many}}]}`).length, 1)
    const again = Array.from({ length: limits.values }, () => '"input":1').join(',')
    assert.throws(() => inputs(`{"tasks":[{${again}}]}`), /more than 320000 values/)
  })

  test('may be as deep and as long as one task or result may be, and not more', () => {
    const deep = (depth: number) => `{"tasks":[{"input":${'['.repeat(depth)}${']'.repeat(depth)}}]}`
    assert.equal(inputs(deep(limits.depth)).length, 1)
    assert.throws(
      () => inputs(deep(limits.depth + 1)),
      /tasks\.0\.input nests arrays and objects more than 500 deep/,
    )
    const long = (bytes: number) => `{"tasks":[{"input":0},{"input":"${'x'.repeat(bytes - 2)}"}]}`
    assert.equal((inputs(long(limits.value))[1] as JsonText).text.length, limits.value)
    assert.throws(
      () => inputs(long(limits.value + 1)),
      /tasks\.1\.input is longer than 8388608 bytes of JSON/,
    )
    const spread = `[${Array.from({ length: limits.value / 2 }, () => '1').join(',')}]`
    assert.throws(() => inputs(`{"tasks":[{"input":${spread}}]}`), /longer than 8388608 bytes/)
  })

  test('is read in steps, in between which others have their turn', () => {
    const text = `{"tasks":[${Array.from({ length: 8 }, () => `{"input":"${'x'.repeat(1 << 20)}"}`).join(',')}]}`
    const { steps } = read(text, { keep })
    assert.ok(steps >= 8, `${steps} steps`)
  })

  test('that is not UTF-8 is refused', () => {
    assert.throws(() => read(Buffer.from([0x22, 0xff, 0x22])), JsonTextError)
  })
})
