import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createRequestGate } from '../../../../src/library/kinds/server/request-gate.ts'

/** A gate on a clock of its own, in front of a server that answers up to `enough` requests at once in a second each. */
async function drive(requests: number, enough: number, fixed?: number) {
  let time = 0
  let under = 0
  const limits: number[] = []
  const gate = createRequestGate(fixed, { now: () => time, wait: () => Promise.resolve() })
  let left = requests
  const running = new Set<() => void>()
  const lane = async () => {
    while (left-- > 0) {
      await gate.enter()
      under += 1
      limits.push(under)
      await new Promise<void>((resolve) => running.add(resolve))
      under -= 1
      gate.leave('answered')
    }
  }
  const lanes = Promise.all(Array.from({ length: gate.lanes }, lane))
  let done = false
  void lanes.then(() => (done = true))
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve))
    time += 1000
    for (const end of [...running].slice(0, enough)) {
      running.delete(end)
      end()
    }
  }
  return { gate, most: Math.max(...limits) }
}

describe('a gate for requests', () => {
  test('lets through what is set, and no more', async () => {
    const { most, gate } = await drive(100, 50, 3)
    assert.deepEqual([most, gate.limit, gate.lanes], [3, 3, 3])
  })

  test('finds out how many at once make a server faster', async () => {
    const { gate, most } = await drive(4000, 24)
    assert.ok(gate.limit >= 22, `${gate.limit}`)
    assert.ok(most <= 24 * 1.5 * 1.5, `${most}`)
  })

  test('sends again what a busy server refused, and lets fewer through', async () => {
    const gate = createRequestGate(undefined, { wait: () => Promise.resolve() })
    let refusals = 3
    await gate.enter()
    assert.equal(
      await gate.retry(
        () => Promise.resolve(refusals-- > 0),
        (busy) => busy,
      ),
      false,
    )
    gate.leave('answered')
    assert.ok(gate.limit < 4)
    const always = await gate.retry(
      () => Promise.resolve(true),
      (busy) => busy,
    )
    assert.equal(always, true, 'in the end the refusal is the outcome')
    assert.equal(gate.limit, 1)
  })
})
