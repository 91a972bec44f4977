import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import { until } from '../../support/until.ts'
import { begin, CONTEXT, ended, lease, outcomes } from './session-stage.ts'

const model = fileURLToPath(new URL('../../fixtures/models/grouped-query', import.meta.url))

/** A language model whose answers take as long as they may: many of them, which never end by themselves. */
const setup = {
  type: 'setup' as const,
  context: {
    id: CONTEXT,
    name: 'model',
    bundles: { model: 'b'.repeat(64) },
    spec: LibrarySpec.parse({
      library: 'causal-lm',
      setup: { model: 'model' },
      functions: { run: { maxNewTokens: 400, minNewTokens: 400 } },
    }),
  },
  bundles: { model },
  blobs: '/nowhere',
  threads: 1,
  gpus: { count: 0, memory: 0, hasOthers: false },
  device: 'cpu',
}
const long = { prompt: 'a', generation: { n: 128 } }
const short = { prompt: 'b', generation: { maxNewTokens: 1, minNewTokens: 0 } }

describe('a language model', () => {
  test('ends a call at its time limit, and goes on with others in the same process', async () => {
    const limited = lease([long], { timeLimitMs: 1 })
    const other = { ...lease([short]), lease: 2, tasks: [{ task: 2, input: short }] }
    await using stage = await begin('', [limited, other], { setup })
    await ended(stage, 2)
    const found = outcomes(stage)
    const outcome = found.get(1)
    assert.ok(outcome?.status === 'crash')
    assert.deepEqual(outcome.error, {
      name: 'TimeLimit',
      message: 'still running after 1 ms, its time limit: it was ended',
    })
    assert.equal(found.get(2)?.status, 'done')
  })

  test('ends a call that is cancelled while it runs', async () => {
    await using stage = await begin('', [lease([long])], { setup })
    await stage.ready
    await until(() => {
      stage.session.forget(
        () => false,
        ({ task }) => task === 1,
      )
      return stage.session.calls === 0
    })
    const outcome = outcomes(stage).get(1)
    assert.ok(outcome?.status === 'error')
    assert.equal(outcome.error.name, 'CancelledError')
  })
})
