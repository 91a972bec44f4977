import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { toTaskError } from '../../src/common/task-errors.ts'
import { limits } from '../../src/protocol/primitives.ts'
import { TaskError } from '../../src/protocol/task.ts'

/** Errors in errors, deeper than is told of; each leads to at most three, so that trees stay of a size to be made. */
const { thrown } = fc.letrec<{ thrown: unknown }>((tie) => ({
  thrown: fc.oneof(
    { maxDepth: limits.errorDepth + 2, withCrossShrink: true },
    fc.anything(),
    fc
      .record({
        message: fc.string(),
        cause: tie('thrown'),
        errors: fc.array(tie('thrown'), { maxLength: 2 }),
      })
      .map(({ message, cause, errors }) => new AggregateError(errors, message, { cause })),
  ),
}))

const sizeOf = ({ cause, errors = [] }: TaskError): number =>
  [...errors, ...(cause ? [cause] : [])].reduce((sum, each) => sum + sizeOf(each), 1)

describe('what was thrown', () => {
  test('is described so that it can be sent, whatever it is', () => {
    fc.assert(
      fc.property(thrown, (thrown) => {
        const described = toTaskError(thrown)
        assert.deepEqual(TaskError.parse(JSON.parse(JSON.stringify(described))), described)
        assert.ok(sizeOf(described) <= limits.errors)
      }),
    )
  })

  test('comes with what led to it, so far down and no further', () => {
    const loop = new Error('it went round')
    loop.cause = loop
    let depth = 0
    for (let at: TaskError | undefined = toTaskError(loop).cause; at; at = at.cause) depth++
    assert.equal(depth, limits.errorDepth)
    const many = Array.from({ length: 1000 }, (_, i) => new Error(`${i} ${'x'.repeat(1e5)}`))
    const described = toTaskError(new AggregateError(many, 'all of them'))
    assert.equal(described.errors?.length, limits.errors - 1)
    assert.ok(JSON.stringify(described).length < 300_000)
  })
})
