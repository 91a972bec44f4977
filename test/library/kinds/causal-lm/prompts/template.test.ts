import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { compileTemplate } from '../../../../../src/library/kinds/causal-lm/prompts/template.ts'
import { ContextFilesError, InputError } from '../../../../../src/common/task-errors.ts'
import type { JsonValue } from '../../../../../src/protocol/primitives.ts'

const render = (source: string, input: JsonValue) => compileTemplate(source)(input)
const rejects = (source: string, input: JsonValue, message: RegExp) => {
  const template = compileTemplate(source)
  assert.throws(
    () => template(input),
    (error) => error instanceof InputError && message.test(error.message),
  )
}

describe('a template over an input', () => {
  test('has the fields of an object as its variables', () => {
    const input = { claim: 'It is.', evidence: { text: 'It was.' }, n: 3 }
    assert.equal(render('{{ evidence.text }} {{ claim | upper }} {{ n + 1 }}', input), 'It was. IT IS. 4')
    assert.equal(render('{% for x in list %}{{ x.a }},{% endfor %}', { list: [{ a: 1 }, { a: 2 }] }), '1,2,')
    assert.equal(render('{% if yes is true %}y{% else %}n{% endif %}', { yes: true }), 'y')
  })

  test('has any other input as the variable "input"', () => {
    assert.equal(render('> {{ input }}', 'plain'), '> plain')
    assert.equal(render('{{ input[1] }}', ['a', 'b']), 'b')
    assert.equal(render('{{ input }}', 7), '7')
  })

  test('names a field that the input does not have', () => {
    rejects('{{ evidence }} {{ claim }}', { evidence: 'x' }, /no field "claim"/)
    rejects('{{ claim.text }}', { claim: {} }, /no field "claim\.text"/)
    rejects('{{ claim["text"] }}', { claim: {} }, /no field "claim\[text\]"/)
    rejects('{{ claim.text | trim }}', { other: 1 }, /no field "claim"/)
    rejects('{% for x in list %}{{ x.a }}{% endfor %}', { list: [{ a: 1 }, {}] }, /no field "x\.a"/)
    rejects('{% if claim %}{{ claim }}{% endif %}', {}, /no field "claim"/)
    rejects('{{ claim }}', 'plain', /no field "claim"/)
  })

  test('may ask for a field, or have an answer for its absence', () => {
    assert.equal(render('{% if hint is defined %}{{ hint }}{% else %}none{% endif %}', {}), 'none')
    assert.equal(render('{{ hint | default("none") }}', {}), 'none')
    assert.equal(render('{{ a.b | default("none") }}', { a: {} }), 'none')
    rejects('{{ a.b | default("none") }}', {}, /no field "a"/)
  })

  test('does not look for templates or globals in what it is given', () => {
    assert.equal(render('{{ claim }}', { claim: '{{ secret }}' }), '{{ secret }}')
    rejects('{{ constructor }}', {}, /no field "constructor"/)
  })

  test('says what does not fit when an input is of the wrong kind', () => {
    rejects('{% for x in list %}{{ x }}{% endfor %}', { list: 5 }, /does not fit the template/)
  })

  test('is refused when it is not Jinja', () => {
    assert.throws(() => compileTemplate('{{ claim'), ContextFilesError)
    assert.throws(() => compileTemplate('{% if x %}'), ContextFilesError)
  })
})
