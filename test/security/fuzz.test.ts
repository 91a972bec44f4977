import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from '../../scripts/fuzz/fuzz.ts'
import { makeState, removeState } from '../support/manager.ts'

test('4,000 malformed requests to every route are refused, and nothing of them remains', async () => {
  const folder = await makeState()
  try {
    const { problems, byFate } = await fuzz({ folder, requests: 4_000, seed: 11 })
    assert.deepEqual(problems, [])
    const refused = Object.entries(byFate).filter(([fate]) => fate.startsWith('4'))
    assert.ok(refused.reduce((sum, [, count]) => sum + count, 0) > 3_500)
  } finally {
    await removeState(folder)
  }
})
