import assert from 'node:assert/strict'
import { test } from 'node:test'
import { soak } from '../../scripts/soak/soak.ts'
import { makeState, removeState } from '../support/manager.ts'

test('a manager killed 8 times under load loses, doubles and reorders nothing that was acknowledged', async () => {
  const folder = await makeState()
  try {
    const { problems, tasks, results } = await soak({
      folder,
      kills: 8,
      seed: 7,
      clients: 2,
      workers: 4,
      tasks: 1_000,
    })
    assert.deepEqual(problems, [])
    assert.ok(tasks >= 1_000 && results >= tasks, `${tasks} tasks, ${results} results`)
  } finally {
    await removeState(folder)
  }
})

test('a manager that is killed with 50 workers connected gets them all back, with what they had in hand', async () => {
  const folder = await makeState()
  try {
    const { problems, tasks, results } = await soak({
      folder,
      kills: 2,
      seed: 3,
      clients: 2,
      workers: 50,
      tasks: 500,
    })
    assert.deepEqual(problems, [])
    assert.ok(tasks >= 500 && results >= tasks, `${tasks} tasks, ${results} results`)
  } finally {
    await removeState(folder)
  }
})
