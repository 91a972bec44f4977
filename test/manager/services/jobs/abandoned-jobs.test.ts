import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { JsonText } from '../../../../src/protocol/json/json-text.ts'
import { JobOptions } from '../../../../src/protocol/client.ts'
import { openParts, type Parts } from '../../../support/manager-parts.ts'

const DAY = 24 * 3_600_000

describe('a job whose client is gone', () => {
  let here: Parts

  beforeEach(async () => {
    here = await openParts()
  })

  afterEach(() => here[Symbol.asyncDispose]())

  async function make(options: Partial<JobOptions>, tasks: number, name = 'job'): Promise<number> {
    const { id } = await here.jobs.create({ name, context: 'ctx', options: JobOptions.parse(options) })
    await here.jobs.addTasks(
      id,
      Array.from({ length: tasks }, (_, i) => ({ key: `${i}`, input: new JsonText(`${i}`) })),
    )
    return id
  }

  /** The job's state, once this much time has passed. */
  async function stateAfter(id: number, ms: number) {
    here.pass(ms)
    await here.jobs.sweep()
    return here.jobs.info(id).state
  }

  test('stays while it is heard of, and is cancelled when it is not', async () => {
    const id = await make({ abandonMs: 100 }, 3)
    assert.equal(await stateAfter(id, 99), 'open')
    await here.jobs.results(id, { after: 0 }, 10, 0, new AbortController().signal)
    assert.equal(await stateAfter(id, 99), 'open')
    assert.equal(await stateAfter(id, 1), 'cancelled')
    assert.equal(here.dispatcher.view.hasJob(1), false)
  })

  test('is closed if it has nothing to run, so that its client may come back', async () => {
    const id = await make({ abandonMs: 100 }, 0)
    assert.equal(await stateAfter(id, 100), 'finished')
    assert.deepEqual(await here.jobs.addTasks(id, [{ key: 'late', input: new JsonText('1') }]), {
      added: 1,
      known: 0,
      changed: 0,
    })
    assert.equal(here.jobs.info(id).state, 'open')
  })

  test('is forgotten a week after its end if it belongs to its client, and else never', async () => {
    const passing = await make({ abandonMs: 100 }, 1)
    assert.equal(await stateAfter(passing, 100), 'cancelled')
    const kept = await make({}, 0, 'kept')
    await here.jobs.close(kept)
    assert.equal(await stateAfter(passing, 7 * DAY - 1), 'cancelled')
    here.pass(1)
    await here.jobs.sweep()
    assert.deepEqual(
      here.jobs.list().map(({ id }) => id),
      [kept],
    )
  })

  test('has its time again when the manager was away', async () => {
    const id = await make({ abandonMs: 100 }, 1)
    here.pass(1_000)
    await here.restart()
    assert.equal(await stateAfter(id, 99), 'open')
    assert.equal(await stateAfter(id, 1), 'cancelled')
  })

  test('goes on if it was not to be given up, and is closed a week after it has nothing to run', async () => {
    assert.equal(await stateAfter(await make({}, 1), 1e12), 'open')
    const idle = (await here.jobs.create({ name: 'idle', context: 'ctx', options: JobOptions.parse({}) })).id
    assert.equal(await stateAfter(idle, 7 * DAY - 1), 'open')
    assert.equal(await stateAfter(idle, 1), 'finished')
  })

  test('keeps its blobs until it was ended, and then as long as it says', async () => {
    const id = await make({ keepMs: DAY }, 0)
    here.pass(7 * DAY)
    assert.ok(!here.jobs.isPast(id))
    assert.equal(await stateAfter(id, 0), 'finished')
    here.pass(DAY - 1)
    assert.ok(!here.jobs.isPast(id))
    here.pass(1)
    assert.ok(here.jobs.isPast(id))
  })
})
