import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { pino } from 'pino'
import { Ledger } from '../../src/manager/ledger.ts'
import type { Manager } from '../../src/manager/manager.ts'
import type { JobInfo } from '../../src/protocol/client.ts'
import { ask, CONTEXT, HttpWorker, makeState, removeState, startOn } from '../support/manager.ts'

let folder: string
let manager: Manager & { token: string }

beforeEach(async () => {
  folder = await makeState()
  manager = await startOn(folder)
})

afterEach(async () => {
  await manager.close()
  await removeState(folder)
})

const user = <T>(path: string, body?: unknown) => ask<T>(manager.url, manager.token, path, body)

describe('a job', () => {
  test('is made once, however many ask for it at the same time', async () => {
    const asked = Array.from({ length: 5 }, () => user<JobInfo>('/v1/jobs', { name: 'same', context: 'ctx' }))
    const answers = await Promise.all(asked)
    assert.deepEqual(
      answers.map(({ status, body }) => [status, body.id]),
      Array.from({ length: 5 }, () => [200, 1]),
    )
  })

  test('is refused when a bundle of its context is gone, for no worker could ever run it', async () => {
    await manager.close()
    const ledger = new Ledger(join(folder, 'ledger.db'), pino({ level: 'silent' }))
    await ledger.addContext({ ...CONTEXT, id: 'd'.repeat(64), bundles: { app: 'b'.repeat(64) } }, 2)
    await ledger.close()
    manager = await startOn(folder)
    const { status, body } = await user<{ error: { message: string } }>('/v1/jobs', {
      name: 'job',
      context: 'ctx',
    })
    assert.equal(status, 409)
    assert.match(body.error.message, /context "ctx": its bundle app was removed; add it again/)
  })

  test('that has ended is not cancelled any more', async () => {
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: [{ key: 'k', input: {} }] })
    await user(`/v1/jobs/${job.id}/close`, {})
    const worker = await HttpWorker.register(manager)
    await worker.workUntilIdle()
    assert.equal((await user<JobInfo>(`/v1/jobs/${job.id}/cancel`, {})).body.state, 'finished')
    await worker.die()
  })
})
