import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Gate } from '../../../scripts/bench/dispatch/start-barrier.ts'

test(
  'a gate holds up those who come until it is opened, and again once it is shut',
  { timeout: 180_000 },
  async () => {
    await using gate = await Gate.create()
    const passed: string[] = []
    const pass = async (name: string) => {
      await fetch(gate.url)
      passed.push(name)
    }
    const early = [pass('first'), pass('second')]
    await gate.reached(2)
    assert.deepEqual(passed, [])
    gate.open()
    await Promise.all(early)
    await pass('third')
    gate.shut()
    const late = pass('fourth')
    await gate.reached(1)
    assert.equal(passed.length, 3)
    gate.open()
    await late
  },
)
