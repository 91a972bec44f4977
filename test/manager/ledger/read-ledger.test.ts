import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { LedgerLockedError } from '../../../src/manager/ledger/database.ts'
import { readLedger } from '../../../src/manager/ledger/read-ledger.ts'
import type { JobInfo } from '../../../src/protocol/client.ts'
import { ask, HttpWorker, managerForEachTest, startOn } from '../../support/manager.ts'

const here = managerForEachTest()
const log = pino({ level: 'silent' })

describe('a ledger that no factory runs on', () => {
  test('tells of its jobs and their results as the factory did', async () => {
    const user = <T>(path: string, body?: unknown) => ask<T>(here.manager.url, here.manager.token, path, body)
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    const tasks = ['a', 'b', 'c'].map((key) => ({ key, input: { key } }))
    await user(`/v1/jobs/${job.id}/tasks`, { tasks })
    await user(`/v1/jobs/${job.id}/close`, {})
    const worker = await HttpWorker.register(here.manager)
    await worker.workUntilIdle()
    await worker.die()
    const before = (await user<JobInfo>(`/v1/jobs/${job.id}`)).body
    await here.manager.close()
    {
      await using reader = readLedger(join(here.folder, 'ledger.db'), log)
      assert.deepEqual(await reader.jobs(), [before])
      const results = [...reader.results(job.id)]
      assert.deepEqual(
        results.map(({ key, value }) => [key, value]).toSorted(),
        tasks.map(({ key, input }) => [key, input]),
      )
      assert.equal((await reader.errors(job.id)).failed, 0)
      assert.equal((await reader.log(job.id, 'a')).status, 'done')
    }
    here.manager = await startOn(here.folder)
  })

  test('is not read beside a factory', () => {
    assert.throws(() => readLedger(join(here.folder, 'ledger.db'), log), LedgerLockedError)
  })
})
