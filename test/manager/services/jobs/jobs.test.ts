import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { addContext } from '../../../../src/manager/ledger/context-records.ts'
import { Ledger } from '../../../../src/manager/ledger/ledger.ts'
import type { JobInfo, ProgressResponse, ResultsResponse } from '../../../../src/protocol/client.ts'
import type { Status } from '../../../../src/protocol/status.ts'
import { ask, CONTEXT, HttpWorker, managerForEachTest, startOn } from '../../../support/manager.ts'

const here = managerForEachTest()

const user = <T>(path: string, body?: unknown) => ask<T>(here.manager.url, here.manager.token, path, body)

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
    await here.manager.close()
    const ledger = new Ledger(join(here.folder, 'ledger.db'), pino({ level: 'silent' }))
    await addContext(ledger, { ...CONTEXT, id: 'd'.repeat(64), bundles: { app: 'b'.repeat(64) } }, 2)
    await ledger.close()
    here.manager = await startOn(here.folder)
    const { status, body } = await user<{ error: { message: string } }>('/v1/jobs', {
      name: 'job',
      context: 'ctx',
    })
    assert.equal(status, 409)
    assert.match(body.error.message, /context "ctx": its bundle app was removed; add it again/)
  })

  test('is shown in the status while it is open, or among the last that have ended', async () => {
    await user('/v1/jobs', { name: 'open', context: 'ctx' })
    for (let i = 0; i < 25; i++) {
      const { body } = await user<JobInfo>('/v1/jobs', { name: `ended ${i}`, context: 'ctx' })
      await user(`/v1/jobs/${body.id}/close`, {})
    }
    const { jobs, earlierJobs } = (await user<Status>('/v1/status')).body
    assert.deepEqual([jobs.length, earlierJobs], [21, 5])
    assert.deepEqual([jobs[0]?.name, jobs[1]?.name, jobs[20]?.name], ['open', 'ended 5', 'ended 24'])
  })

  test('that has ended is not cancelled any more', async () => {
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: [{ key: 'k', input: {} }] })
    await user(`/v1/jobs/${job.id}/close`, {})
    const worker = await HttpWorker.register(here.manager)
    await worker.workUntilIdle()
    assert.equal((await user<JobInfo>(`/v1/jobs/${job.id}/cancel`, {})).body.state, 'finished')
    await worker.die()
  })

  test('gives up tasks whose keys look like names of tasks that were given up before', async () => {
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    const keys = ['a', ...Array.from({ length: 9 }, (_, i) => `a#${i}`)]
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: keys.map((key) => ({ key, input: {} })) })
    const cancelled = await user(`/v1/jobs/${job.id}/tasks/cancel`, { keys: ['a#5', 'a'] })
    assert.deepEqual(cancelled, { status: 200, body: { cancelled: 2 } })
    const kept = keys.filter((key) => !['a#5', 'a'].includes(key))
    assert.deepEqual(
      (await user<ProgressResponse>(`/v1/jobs/${job.id}/tasks/progress`, { keys })).body.tasks.map(
        ({ key }) => key,
      ),
      kept,
    )
    const { results } = (await user<ResultsResponse>(`/v1/jobs/${job.id}/results`)).body
    assert.ok(results.every(({ key }) => !keys.includes(key)))
    assert.deepEqual(
      results.map(({ error }) => error?.name),
      ['Cancelled', 'Cancelled'],
    )
  })

  test('that has ended is forgotten with all that was in it, and no number of it is used again', async () => {
    const add = async (name: string, keys: string[]) => {
      const { body: job } = await user<JobInfo>('/v1/jobs', { name, context: 'ctx' })
      await user(`/v1/jobs/${job.id}/tasks`, { tasks: keys.map((key) => ({ key, input: { key } })) })
      await user(`/v1/jobs/${job.id}/close`, {})
      return job
    }
    const kept = await add('kept', ['a'])
    const job = await add('job', ['b', 'c'])
    const forget = (id: number) => user<JobInfo>(`/v1/jobs/${id}/forget`, {})
    assert.equal((await forget(job.id)).status, 409)
    const worker = await HttpWorker.register(here.manager)
    await worker.workUntilIdle()
    assert.equal((await forget(job.id)).body.tasks, 2)
    assert.equal((await forget(job.id)).status, 404)
    await worker.die()

    await here.manager.close()
    /** How many jobs and tasks there are, and the last number of each. */
    const numbers = async () => {
      const ledger = new Ledger(join(here.folder, 'ledger.db'), pino({ level: 'silent' }))
      const of = (table: string) =>
        Object.values(ledger.db.prepare(`SELECT count(*), max(id) FROM ${table}`).get()!)
      const found = [...of('jobs'), ...of('tasks')]
      await ledger.close()
      return found
    }
    assert.deepEqual(await numbers(), [1, kept.id, 1, 1])
    here.manager = await startOn(here.folder)
    assert.equal((await add('job', ['d'])).id, job.id + 1)
    await here.manager.close()
    assert.deepEqual(await numbers(), [2, job.id + 1, 2, 4])
    here.manager = await startOn(here.folder)
  })
})
