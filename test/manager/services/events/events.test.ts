import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from 'undici'
import { EventsResponse, type EventType, type FactoryEvent } from '../../../../src/protocol/events.ts'
import { ask, CONTEXT, HttpWorker, managerForEachTest, startOn } from '../../../support/manager.ts'
import { until } from '../../../support/until.ts'

const here = managerForEachTest()

async function events(query = ''): Promise<FactoryEvent[]> {
  const { url, token } = here.manager
  const { status, body } = await ask(url, token, `/v1/events?${query}`)
  assert.equal(status, 200)
  return EventsResponse.parse(body).events
}

/** The first event of a type, as soon as there is one. */
async function eventOf<Type extends EventType>(type: Type) {
  let found: FactoryEvent | undefined
  await until(async () => (found = (await events(`type=${type}`))[0]) !== undefined)
  return found as Extract<FactoryEvent, { type: Type }>
}

async function addJob(tasks: number): Promise<number> {
  const { url, token } = here.manager
  const { body } = await ask<{ id: number }>(url, token, '/v1/jobs', {
    name: 'claims',
    context: CONTEXT.name,
  })
  const rows = Array.from({ length: tasks }, (_, i) => ({ key: `k${i}`, input: i }))
  await ask(url, token, `/v1/jobs/${body.id}/tasks`, { tasks: rows })
  await ask(url, token, `/v1/jobs/${body.id}/close`, {})
  return body.id
}

test('the time in the queue is told of a pilot that begins, and not of one that begins again, which has run in between', async () => {
  const { registry } = here.manager
  const [{ pilot, token }] = registry.create('test', 1) as [{ pilot: string; token: string }]
  registry.submitted([{ pilot, jobId: '7' }])
  for (const restarts of [0, 1]) await HttpWorker.register(here.manager, token, restarts)
  const told = async () => await events('type=worker-registered')
  await until(async () => (await told()).length === 2)
  assert.deepEqual(
    (await told()).map((event) => 'queuedMs' in event),
    [true, false],
  )
})

test('a job that is run is told of from its submission to its end, with the workers that ran it', async () => {
  const job = await addJob(5)
  const worker = await HttpWorker.register(here.manager)
  await worker.workUntilIdle()
  const ended = await eventOf('job-ended')
  assert.deepEqual(
    [ended.job, ended.name, ended.state, ended.tasks, ended.done, ended.failed],
    [job, 'claims', 'finished', 5, 5, 0],
  )
  const registered = await eventOf('worker-registered')
  assert.deepEqual([registered.worker, registered.site, registered.node], [worker.id, 'test', 'node1'])
  const level = await eventOf('context-level')
  assert.deepEqual([level.context, level.from, level.level], ['ctx', 'absent', 'memory'])
  const types = (await events(`job=${job}`)).map(({ type }) => type)
  assert.equal(types[0], 'job-submitted')
  assert.equal(types.at(-1), 'job-ended')
  await worker.die()
})

test('a worker that vanishes with tasks in hand is told of as lost, and so are the attempts of its job', async () => {
  const job = await addJob(20)
  const worker = await HttpWorker.register(here.manager)
  const { body } = await worker.exchange({ room: 8 })
  const tasks = body.leases.reduce((sum, lease) => sum + lease.tasks.length, 0)
  assert.ok(tasks > 0)
  await worker.die()
  const lost = await eventOf('worker-lost')
  assert.deepEqual([lost.worker, lost.requeued], [worker.id, tasks])
  assert.ok(lost.lostMs >= 0 && lost.lostMs < 60_000)
  const attempts = await eventOf('attempts-lost')
  assert.deepEqual([attempts.job, attempts.worker, attempts.tasks], [job, worker.id, tasks])
})

test('a worker that is told to leave its node hands its tasks back, which is told as an eviction', async () => {
  await addJob(20)
  const worker = await HttpWorker.register(here.manager)
  const { body } = await worker.exchange({ room: 8 })
  const [lease] = body.leases
  const results = lease!.tasks.map(({ task }) => ({
    task,
    lease: lease!.lease,
    outcome: { status: 'returned' as const },
    ms: 0,
  }))
  await worker.exchange({ results, leaving: 'eviction' })
  const evicted = await eventOf('worker-evicted')
  assert.deepEqual(
    [evicted.worker, evicted.reason, evicted.requeued],
    [worker.id, 'eviction', lease!.tasks.length],
  )
  await worker.die()
})

test('what the GPUs of a worker drew is told when it leaves, and summed up where it was', async () => {
  await addJob(1)
  const worker = await HttpWorker.register(here.manager)
  await worker.exchange({ energyJ: 1_000 })
  await worker.exchange({ energyJ: 2_500 })
  // A pilot of a driver that does not tell says nothing.
  const silent = await HttpWorker.register(here.manager)
  await silent.exchange()
  await worker.exchange({ energyJ: 2_600, leaving: 'eviction' })
  await silent.exchange({ leaving: 'eviction' })
  const left = () => events('type=worker-evicted')
  await until(async () => (await left()).length === 2)
  assert.deepEqual(
    (await left()).map((event) => (event as { energyJ?: number }).energyJ),
    [2_600, undefined],
  )
  await here.manager.close()
  here.manager = await startOn(here.folder)
  await until(async () => (await events('type=sample')).length > 0)
  const pools = (await events('type=sample')).flatMap((event) => (event.type === 'sample' ? event.pools : []))
  assert.equal(pools.at(-1)?.energyJ, 2_600)
  await Promise.all([worker.die(), silent.die()])
})

test('events are there after a restart, and totals go on', async () => {
  const job = await addJob(3)
  const worker = await HttpWorker.register(here.manager)
  await worker.workUntilIdle()
  await eventOf('job-ended')
  await here.manager.close()
  here.manager = await startOn(here.folder)
  const types = (await events()).map(({ type }) => type)
  assert.deepEqual(
    types.filter((type) => type.startsWith('factory')),
    ['factory-started', 'factory-stopped', 'factory-started'],
  )
  assert.ok((await events(`job=${job}`)).length > 0)
  const sample = (await events('type=sample')).at(-1) as Extract<FactoryEvent, { type: 'sample' }>
  assert.equal(sample.tasks.done, 3)
  assert.equal(sample.pools[0]!.device, 'cpu')
  const { url, token } = here.manager
  await ask(url, token, `/v1/jobs/${job}/retry`, {})
  await worker.exchange()
  await eventOf('worker-returned')
  await worker.die()
})

test('an event is answered as soon as it comes to who waits for it', async () => {
  const { url, token } = here.manager
  const { cursor } = (await ask<EventsResponse>(url, token, '/v1/events?limit=10000')).body
  const waiting = ask<EventsResponse>(
    url,
    token,
    `/v1/events?after=${cursor}&type=job-submitted&waitMs=60000`,
  )
  await addJob(1)
  const { body } = await waiting
  assert.deepEqual(
    body.events.map(({ type }) => type),
    ['job-submitted'],
  )
})

/** Reads a stream of events until `enough` says so. */
async function readStream(
  headers: Record<string, string>,
  enough: (text: string) => boolean,
): Promise<string> {
  const { url, token } = here.manager
  const controller = new AbortController()
  const response = await request(`${url}/v1/events`, {
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', ...headers },
    signal: controller.signal,
  })
  assert.equal(response.statusCode, 200)
  assert.equal(response.headers['content-type'], 'text/event-stream')
  let text = ''
  try {
    for await (const chunk of response.body) {
      text += String(chunk)
      if (enough(text)) break
    }
  } finally {
    controller.abort()
  }
  return text
}

test('a stream brings what was and what comes, and goes on behind the last event that its reader has had', async () => {
  const job = await addJob(1)
  const text = await readStream({}, (sofar) => sofar.includes('"job-submitted"') && sofar.endsWith('\n\n'))
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
  assert.deepEqual(
    ids,
    [...ids].sort((a, b) => a - b),
  )
  const live = readStream({ 'last-event-id': String(ids.at(-1)) }, (sofar) => sofar.includes('"job-ended"'))
  const { url, token } = here.manager
  await ask(url, token, `/v1/jobs/${job}/cancel`, {})
  const rest = await live
  assert.ok(!rest.includes('"job-submitted"'))
  const [, data] = /^data: (.*job-ended.*)$/m.exec(rest)!
  assert.equal((JSON.parse(data!) as { state: string }).state, 'cancelled')
})
