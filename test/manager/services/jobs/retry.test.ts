import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { JobErrors, JobInfo, ResultsResponse, RetryResponse } from '../../../../src/protocol/client.ts'
import { ask, HttpWorker, managerForEachTest, startOn } from '../../../support/manager.ts'

const here = managerForEachTest()

const user = <T>(path: string, body?: unknown) => ask<T>(here.manager.url, here.manager.token, path, body)

async function submit(keys: string[], closed = true): Promise<number> {
  const { body } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
  await user(`/v1/jobs/${body.id}/tasks`, { tasks: keys.map((key) => ({ key, input: key })) })
  if (closed) await user(`/v1/jobs/${body.id}/close`, {})
  return body.id
}

/** Runs what there is; a task fails with what `fails` says of its input. */
async function work(fails: (input: unknown) => string | undefined): Promise<void> {
  const worker = await HttpWorker.register(here.manager)
  let results: Parameters<HttpWorker['exchange']>[0] = { results: [] }
  for (;;) {
    const { body } = await worker.exchange({ room: 100, ...results })
    const tasks = body.leases.flatMap(({ lease, tasks }) => tasks.map((task) => ({ lease, ...task })))
    if (tasks.length === 0) break
    results = {
      results: tasks.map(({ lease, task, input }) => {
        const message = fails(input)
        const outcome =
          message === undefined
            ? { status: 'done' as const, value: input }
            : { status: 'error' as const, error: { name: 'TypeError', message } }
        return { task, lease, outcome, ms: 1, ...(message !== undefined && { log: 'printed' }) }
      }),
    }
  }
  await worker.die()
}

const errorsOf = async (job: number) => (await user<JobErrors>(`/v1/jobs/${job}/errors`)).body
const retry = async (job: number) => (await user<RetryResponse>(`/v1/jobs/${job}/retry`, {})).body
const resultsAfter = async (job: number, cursor: number) =>
  (await user<ResultsResponse>(`/v1/jobs/${job}/results?after=${cursor}`)).body.results

describe('the errors of a job', () => {
  test('are counted by kind, with the first task of each as an example', async () => {
    const job = await submit(['a', 'b', 'c', 'd'])
    await work((input) => (input === 'a' ? 'no memory' : `no file ${String(input).charCodeAt(0)}`))
    const { failed, kinds, errors } = await errorsOf(job)
    assert.deepEqual([failed, kinds], [4, 2])
    assert.deepEqual(
      errors.map(({ tasks, error, example }) => [tasks, error.message, example.key, example.node]),
      [
        [3, 'no file 98', 'b', 'node1'],
        [1, 'no memory', 'a', 'node1'],
      ],
    )
  })

  test('are none for a job without failures', async () => {
    assert.deepEqual(await errorsOf(await submit(['a'])), { failed: 0, kinds: 0, errors: [] })
  })
})

describe('retrying a job', () => {
  test('runs the tasks that failed, and no others, and gives their results behind the earlier ones', async () => {
    const job = await submit(['a', 'b', 'c'])
    await work((input) => (input === 'b' ? undefined : 'broken'))
    const last = (await resultsAfter(job, 0)).at(-1)!.cursor
    assert.equal((await errorsOf(job)).failed, 2)

    const { retried, job: info } = await retry(job)
    assert.deepEqual([retried, info.state, info.done, info.failed, info.retried], [2, 'open', 1, 0, 2])
    const ran: unknown[] = []
    await work((input) => void ran.push(input))
    assert.deepEqual(ran.toSorted(), ['a', 'c'])
    const after = (await user<JobInfo>(`/v1/jobs/${job}`)).body
    assert.deepEqual([after.state, after.done, after.failed], ['finished', 3, 0])
    assert.deepEqual((await resultsAfter(job, last)).map(({ key }) => key).toSorted(), ['a', 'c'])
    assert.equal((await errorsOf(job)).failed, 0)
  })

  test('gives no cursor twice, also when the factory was restarted in between', async () => {
    const job = await submit(['a', 'b'])
    await work(() => 'broken')
    const last = (await resultsAfter(job, 0)).at(-1)!.cursor
    await retry(job)
    await here.manager.close()
    here.manager = await startOn(here.folder)
    await work(() => undefined)
    assert.equal((await resultsAfter(job, last)).length, 2)
  })

  test('opens a cancelled job again, with the tasks it had not run', async () => {
    const job = await submit(['a', 'b'], false)
    await user(`/v1/jobs/${job}/cancel`, {})
    const { retried, job: info } = await retry(job)
    assert.deepEqual([retried, info.state, info.closed], [0, 'open', true])
    await work(() => undefined)
    assert.deepEqual((await user<JobInfo>(`/v1/jobs/${job}`)).body.state, 'finished')
  })

  test('leaves tasks alone that were given up by themselves', async () => {
    const job = await submit(['a', 'b'])
    await user(`/v1/jobs/${job}/tasks/cancel`, { keys: ['a'] })
    await work(() => 'broken')
    assert.equal((await retry(job)).retried, 1)
  })

  test('changes nothing in a job without failures', async () => {
    const job = await submit(['a'])
    await work(() => undefined)
    const { retried, job: info } = await retry(job)
    assert.deepEqual([retried, info.state], [0, 'finished'])
  })
})
