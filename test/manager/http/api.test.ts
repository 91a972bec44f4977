import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { pino } from 'pino'
import { Agent } from 'undici'
import { Ledger } from '../../../src/manager/ledger/ledger.ts'
import type { Manager } from '../../../src/manager/manager.ts'
import type { JobInfo, ResultsResponse, TaskLog } from '../../../src/protocol/client.ts'
import type { Status } from '../../../src/protocol/status.ts'
import { ask, HttpWorker, makeState, registration, removeState, startOn } from '../../support/manager.ts'
import { until } from '../../support/until.ts'

let folder: string
let manager: Manager & { token: string }

beforeEach(async () => {
  folder = await makeState()
  manager = await startOn(folder, { scheduler: { suspectMs: 200 } })
})

afterEach(async () => {
  await manager.close()
  await removeState(folder)
})

const user = <T>(path: string, body?: unknown) => ask<T>(manager.url, manager.token, path, body)

const newPilot = (site = 'test') => manager.registry.create(site, 1)[0]!

async function submit(count: number, name = 'job'): Promise<JobInfo> {
  const { body: job } = await user<JobInfo>('/v1/jobs', { name, context: 'ctx' })
  const tasks = Array.from({ length: count }, (_, i) => ({ key: `k${i}`, input: { n: i } }))
  await user(`/v1/jobs/${job.id}/tasks`, { tasks })
  return (await user<JobInfo>(`/v1/jobs/${job.id}/close`, {})).body
}

const results = async (job: number, query = '') =>
  (await user<ResultsResponse>(`/v1/jobs/${job}/results?${query}`)).body

describe('a context', () => {
  test('is fetched ahead by workers from the moment a user warms it, until it is dropped', async () => {
    const worker = await HttpWorker.register(manager)
    const context = 'c'.repeat(64)
    const idle = () => worker.exchange({ contexts: [], waitMs: 10_000 })
    const told = idle()
    await user('/v1/contexts/ctx/warm', {})
    assert.deepEqual((await told).body.ahead, [context])
    const toldAgain = idle()
    await user('/v1/contexts/ctx/drop', {})
    const { ahead, discard } = (await toldAgain).body
    assert.deepEqual({ ahead, discard }, { ahead: [], discard: [context] })
    await worker.die()
  })

  test('is not dropped while a job needs it, and one that is not there cannot be warmed', async () => {
    const job = await submit(1)
    const refused = await user<{ error: { message: string } }>('/v1/contexts/ctx/drop', {})
    assert.equal(refused.status, 409)
    assert.match(refused.body.error.message, new RegExp(`needed by job ${job.id}: wait for it, or cancel`))
    assert.equal((await user('/v1/contexts/nothing/warm', {})).status, 404)
  })
})

describe('a job', () => {
  test('tells the factory at once when there is work again, and only then', async () => {
    await manager.close()
    let told = 0
    manager = await startOn(folder, { onWork: () => told++ })
    const job = await submit(5)
    assert.equal(told, 1)
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: [{ key: 'more', input: {} }] })
    assert.equal(told, 1)
    const worker = await HttpWorker.register(manager)
    assert.equal(await worker.workUntilIdle(), 6)
    await submit(5, 'next')
    assert.equal(told, 2)
    await worker.die()
  })

  test('is run by a worker, and its results are read in the order they came', async () => {
    const job = await submit(250)
    const worker = await HttpWorker.register(manager)
    assert.equal(await worker.workUntilIdle(), 250)
    const { results: rows, job: info } = await results(job.id, 'limit=1000')
    assert.equal(info.state, 'finished')
    assert.equal(new Set(rows.map(({ key }) => key)).size, 250)
    for (const { key, value } of rows) assert.deepEqual(value, { n: Number(key.slice(1)) })
    await worker.die()
  })

  test('keeps what its tasks printed; a failed one shows it, and where it ran, with its result', async () => {
    const job = await submit(4)
    const worker = await HttpWorker.register(manager)
    const { body } = await worker.exchange({ room: 4 })
    const [lease] = body.leases
    const ends = [
      { outcome: { status: 'done', value: 1 }, log: 'all well\n' },
      { outcome: { status: 'error', error: { name: 'Boom', message: 'gone' } }, log: 'last\n' },
      { outcome: { status: 'done', value: 3 } },
    ] as const
    const ended = lease!.tasks
      .slice(0, 3)
      .map(({ task }, i) => ({ task, lease: lease!.lease, ms: 2, ...ends[i]! }))
    await worker.exchange({ results: ended, leases: [lease!.lease] })
    const log = (key: string) => user<TaskLog>(`/v1/jobs/${job.id}/log?key=${key}`)
    const at = { worker: worker.id, node: registration(0).node }
    const logged = async (key: string) =>
      JSON.parse(JSON.stringify({ ...(await log(key)).body, traceparent: undefined })) as unknown
    assert.deepEqual(await logged('k0'), { key: 'k0', status: 'done', ms: 2, ...at, log: 'all well\n' })
    assert.deepEqual(await logged('k2'), { key: 'k2', status: 'done', ms: 2, ...at })
    assert.deepEqual(await logged('k3'), { key: 'k3', status: 'queued' })
    const { status, body: missing } = await ask(manager.url, manager.token, `/v1/jobs/${job.id}/log?key=k9`)
    assert.deepEqual([status, missing.error.message], [404, `job ${job.id} ("job") has no task "k9"`])
    assert.equal((await log('')).status, 400)
    const rows = (await results(job.id)).results
    assert.deepEqual(
      rows.map(({ key, log, node }) => [key, log, node]),
      [
        ['k0', undefined, undefined],
        ['k1', 'last\n', at.node],
        ['k2', undefined, undefined],
      ],
    )
    await worker.die()
  })

  test('made again under the same name is the same job, and keys it has are not added again', async () => {
    const first = await submit(10)
    const again = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    assert.equal(again.body.id, first.id)
    const added = await user(`/v1/jobs/${first.id}/tasks`, {
      tasks: [
        { key: 'k3', input: { n: 3 } },
        { key: 'new', input: 0 },
      ],
    })
    assert.deepEqual(added.body, { added: 1, known: 1, changed: 0 })
    const other = await user<{ error: { code: string } }>(`/v1/jobs/${first.id}/tasks`, {
      tasks: [{ key: 'k3', input: 'other' }],
    })
    assert.deepEqual([other.status, other.body.error.code], [409, 'GLEANER_INPUT_CHANGED'])
    const worker = await HttpWorker.register(manager)
    assert.equal(await worker.workUntilIdle(), 11)
    await worker.die()
  })

  test('that had finished goes on when tasks are added', async () => {
    const job = await submit(3)
    const worker = await HttpWorker.register(manager)
    await worker.workUntilIdle()
    assert.equal((await results(job.id)).job.state, 'finished')
    await user(`/v1/jobs/${job.id}/tasks`, { tasks: [{ key: 'late', input: 1 }] })
    assert.equal((await results(job.id)).job.state, 'open')
    assert.equal(await worker.workUntilIdle(), 1)
    await worker.die()
  })

  test('of an unknown context or function is refused with the names there are', async () => {
    const context = await user<{ error: { message: string } }>('/v1/jobs', { name: 'x', context: 'nope' })
    assert.equal(context.status, 404)
    assert.match(context.body.error.message, /known: ctx/)
    const fn = await user<{ error: { message: string } }>('/v1/jobs', {
      name: 'x',
      context: 'ctx',
      function: 'g',
    })
    assert.equal(fn.status, 404)
    assert.match(fn.body.error.message, /it has f/)
  })

  test('is rid of single tasks that are no longer needed, whose keys can be used again', async () => {
    const job = await submit(3)
    const cancelled = await user(`/v1/jobs/${job.id}/tasks/cancel`, { keys: ['k1', 'unknown'] })
    assert.deepEqual(cancelled.body, { cancelled: 1 })
    const again = { tasks: [{ key: 'k1', input: 'again' }] }
    assert.deepEqual((await user(`/v1/jobs/${job.id}/tasks`, again)).body, { added: 1, known: 0, changed: 0 })
    const worker = await HttpWorker.register(manager)
    assert.equal(await worker.workUntilIdle(), 3)
    const { results: rows, job: info } = await results(job.id)
    assert.deepEqual([info.tasks, info.done, info.failed], [4, 3, 1])
    assert.equal(rows.find(({ status }) => status === 'error')?.error?.name, 'Cancelled')
    assert.equal(rows.find(({ key }) => key === 'k1')?.value, 'again')
    await worker.die()
  })

  test('that is cancelled ends at once for those who wait for results', async () => {
    const job = await submit(5)
    const waiting = results(job.id, 'waitMs=30000')
    await user(`/v1/jobs/${job.id}/cancel`, {})
    assert.equal((await waiting).job.state, 'cancelled')
  })

  test('of a context whose setup fails everywhere says why, and is tried again when asked for', async () => {
    const job = await submit(5)
    const worker = await HttpWorker.register(manager)
    const error = { name: 'Error', message: 'model.onnx is truncated' }
    for (let attempts = 1; attempts <= 3; attempts++) {
      await worker.exchange({ contexts: [{ context: 'c'.repeat(64), level: 'disk', attempts, error }] })
    }
    assert.match(
      (await results(job.id, 'waitMs=30000')).job.problem ?? '',
      /"ctx" cannot be set up: model.onnx is trunc/,
    )
    await user('/v1/jobs', { name: 'job', context: 'ctx' })
    assert.equal(await worker.workUntilIdle(), 5)
    await worker.die()
  })
})

describe('an exchange', () => {
  test('that waits is answered as soon as there is work', async () => {
    const worker = await HttpWorker.register(manager)
    await worker.exchange({ room: 5 })
    const waiting = worker.exchange({ room: 5, waitMs: 30_000 })
    await submit(3)
    assert.equal((await waiting).body.leases[0]?.tasks.length, 3)
    await worker.die()
  })

  test('that is sent again after its answer was lost counts once and gets its work anew', async () => {
    await submit(4)
    const worker = await HttpWorker.register(manager)
    const { body } = await worker.exchange({ room: 2 })
    const lease = body.leases[0]!
    const done = lease.tasks.map(({ task }) => ({
      task,
      lease: lease.lease,
      outcome: { status: 'done' as const, value: 1 },
      ms: 1,
    }))
    const seq = worker.seq
    const lost = await worker.exchange({ room: 2, results: done })
    const again = await worker.exchange({ seq, room: 2, results: done })
    assert.notEqual(again.body.leases[0]?.lease, lost.body.leases[0]?.lease)
    assert.equal((await user<Status>('/v1/status')).body.duplicates, 0)
    assert.equal((await worker.exchange({ seq: seq - 1 })).status, 409)
    await worker.die()
  })

  test('that is refused as stale disturbs neither the open one nor its connection', async () => {
    const worker = await HttpWorker.register(manager)
    await worker.exchange({ seq: 5 })
    const waiting = worker.exchange({ seq: 6, waitMs: 600 })
    await until(async () => (await user<Status>('/v1/status')).body.workers[0]?.state === 'active')
    const stray = new Agent()
    const body = { seq: 1, results: [], leases: [], contexts: [], want: [], rate: 0, waitMs: 0 }
    const path = `/v1/workers/${worker.id}/exchange`
    assert.equal((await ask(manager.url, worker.session, path, body, stray)).status, 409)
    await stray.destroy()
    assert.equal((await waiting).status, 200)
    const { evictions, lost, workers } = (await user<Status>('/v1/status')).body
    assert.deepEqual([evictions, lost], [0, 0])
    assert.equal(workers[0]?.state, 'active')
    await worker.die()
  })

  test('that is stale, or comes from a worker that was lost for a while, counts nothing again', async () => {
    const worker = await HttpWorker.register(manager)
    const at = (level: 'absent' | 'memory') => [
      { context: 'c'.repeat(64), level, attempts: 1, fetchMs: 1e12, loadMs: 1e12 },
    ]
    await worker.exchange({ seq: 5, contexts: at('memory') })
    assert.equal((await worker.exchange({ seq: 1, contexts: at('absent') })).status, 409)
    const shown = (await user<Status>('/v1/status')).body
    assert.equal(shown.workers[0]?.contexts[0]?.level, 'memory')
    await worker.exchange({ seq: 6, contexts: at('memory') })
    await worker.die()
    await until(async () => (await user<Status>('/v1/status')).body.lost === 1)
    const body = { seq: 7, results: [], leases: [], contexts: at('memory'), want: [], rate: 0, waitMs: 0 }
    const back = await ask(manager.url, worker.session, `/v1/workers/${worker.id}/exchange`, body)
    assert.equal(back.status, 200)
    const { contexts, startedAt, now } = (await user<Status>('/v1/status')).body
    assert.equal(contexts[0]?.loads, 1)
    // Whatever it says, nothing took longer there than it has been there.
    assert.ok(contexts[0].fetchMs <= now - startedAt && contexts[0].loadMs <= now - startedAt)
  })

  test('of a worker whose connection broke: its tasks go to another within moments', async () => {
    await submit(5)
    const [doomed, other] = [await HttpWorker.register(manager), await HttpWorker.register(manager)]
    assert.equal((await doomed.exchange({ room: 5 })).body.leases[0]?.tasks.length, 5)
    const { workers } = (await user<Status>('/v1/status')).body
    assert.deepEqual(
      workers.map(({ leased, oldestMs }) => [leased, oldestMs !== undefined && oldestMs >= 0]),
      [
        [5, true],
        [0, false],
      ],
    )
    const waiting = other.exchange({ room: 5, waitMs: 30_000 })
    await doomed.die()
    const first = (await waiting).body.leases
    assert.ok(first.length > 0 || (await other.exchange({ room: 5, waitMs: 30_000 })).body.leases.length > 0)
    const status = (await user<Status>('/v1/status')).body
    assert.deepEqual([status.evictions, status.lost], [0, 1])
    assert.equal(status.requeued, 5)
    await other.die()
  })
})

describe('after a restart of the manager', () => {
  test('clients and workers find it where it was, with their tokens, and unfinished work goes on', async () => {
    const job = await submit(20)
    const worker = await HttpWorker.register(manager)
    const { body } = await worker.exchange({ room: 5 })
    const lease = body.leases[0]!
    const { url, token } = manager
    await manager.close()
    manager = await startOn(folder)
    assert.equal(manager.url, url)
    assert.equal(manager.token, token)

    const done = lease.tasks.map(({ task }) => ({
      task,
      lease: lease.lease,
      outcome: { status: 'done' as const, value: 'from before' },
      ms: 1,
    }))
    await worker.exchange({ results: done })
    assert.equal(await worker.workUntilIdle(), 15)
    const { results: rows } = await results(job.id, 'limit=100')
    assert.equal(rows.length, 20)
    assert.equal(rows.filter(({ value }) => value === 'from before').length, 5)
    await worker.die()
  })

  test('leases of the one before are told to be forgotten', async () => {
    await submit(5)
    const worker = await HttpWorker.register(manager)
    const { lease } = (await worker.exchange({ room: 5 })).body.leases[0]!
    await manager.close()
    manager = await startOn(folder)
    assert.deepEqual((await worker.exchange({ leases: [lease] })).body.revoke, [lease])
    await worker.die()
  })
})

describe('tokens', () => {
  test('of a pilot work once for each start of its job, and a later start ends the session before', async () => {
    const { token } = newPilot()
    const first = await HttpWorker.register(manager, token)
    const again = await ask(manager.url, token, '/v1/workers', registration(0))
    assert.equal(again.status, 409)
    const second = await HttpWorker.register(manager, token, 1)
    assert.equal((await first.exchange()).status, 410)
    assert.equal((await second.exchange()).status, 200)
    await first.die()
    await second.die()
  })

  test('of a pilot get the same session again when the answer to a registration was lost', async () => {
    const { token } = newPilot()
    const request = registration()
    const worker = await HttpWorker.join(manager.url, token, request)
    const again = await HttpWorker.join(manager.url, token, request)
    assert.deepEqual([again.id, again.session], [worker.id, worker.session])
    await manager.close()
    manager = await startOn(folder)
    const afterRestart = await HttpWorker.join(manager.url, token, request)
    assert.equal(afterRestart.session, worker.session)
    assert.equal((await afterRestart.exchange()).status, 200)
    for (const each of [worker, again, afterRestart]) await each.die()
  })

  test('of a pilot whose job has ended are void, and so is its session', async () => {
    const { pilot, token } = newPilot()
    const worker = await HttpWorker.register(manager, token)
    manager.registry.ended([{ pilot, reason: 'gone from the queue' }])
    assert.equal((await worker.exchange()).status, 410)
    assert.equal((await ask(manager.url, token, '/v1/workers', registration(5))).status, 401)
    await worker.die()
  })

  test('open only what they are for', async () => {
    const worker = await HttpWorker.register(manager)
    const other = await HttpWorker.register(manager)
    const { token: pilot } = newPilot()
    const refused = [
      await ask(manager.url, worker.session, '/v1/status'),
      await ask(manager.url, pilot, '/v1/jobs'),
      await ask(manager.url, manager.token, '/v1/workers', registration()),
      await ask(manager.url, worker.session, `/v1/workers/${other.id}/exchange`, {}),
      await ask(manager.url, manager.token.replace(/.$/, '~'), '/v1/status'),
      await ask(manager.url, `${worker.id}.${'A'.repeat(43)}`, `/v1/workers/${worker.id}/exchange`, {}),
      await ask(manager.url, worker.session, `/v1/runtime/${'a'.repeat(64)}`),
    ]
    assert.deepEqual(
      refused.map(({ status }) => status),
      refused.map(() => 401),
    )
    await worker.die()
    await other.die()
  })
})

test('nonsense is refused with a line that names the key', async () => {
  const bad = await user<{ error: { message: string } }>('/v1/jobs', { name: 'x', context: '../etc' })
  assert.equal(bad.status, 400)
  assert.match(bad.body.error.message, /^context: /)
  assert.equal((await user('/v1/jobs/99')).status, 404)
  assert.equal((await user('/v1/jobs/abc')).status, 400)
  assert.equal((await user('/v2')).status, 404)
})

test('the registry shows the factory what its pilots do', async () => {
  await submit(8)
  const { pilot, token } = newPilot('site')
  manager.registry.submitted([{ pilot, jobId: '77.0' }])
  const [recorded] = manager.registry.list('site')
  assert.deepEqual([recorded?.jobId, recorded?.registeredAt], ['77.0', undefined])
  const worker = await HttpWorker.register(manager, token)
  await worker.exchange({ room: 3 })
  assert.equal(manager.registry.list('site')[0]?.worker?.leased, 3)
  assert.deepEqual(manager.registry.demand(), { queued: 5, leased: 3, ratePerPilot: 10 })
  manager.registry.drain(pilot)
  assert.equal((await worker.exchange()).body.drain, true)
  await worker.die()
  await until(() => manager.registry.list('site')[0]?.parted?.how === 'lost')
})

test('after the clock was set back, no pilot is from the future: it would hold its place until then', async () => {
  const { pilot } = newPilot('set-back')
  await manager.close()
  const ledger = new Ledger(join(folder, 'ledger.db'), pino({ level: 'silent' }))
  const later = Date.now() + 86_400_000
  ledger.db
    .prepare('UPDATE pilots SET created_at = ?, submitted_at = ? WHERE id = ?')
    .run(later, later, pilot.slice(1))
  await ledger.close()
  manager = await startOn(folder)
  const [record] = manager.registry.list('set-back')
  assert.ok(Math.max(record!.createdAt, record!.submittedAt!) < later - 3_600_000)
  assert.equal(record!.registeredAt, undefined)
})
