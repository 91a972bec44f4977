import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { explainJob } from '../../../src/core/scheduler/job-explanation.ts'
import type { JobSnapshot } from '../../../src/core/scheduler/job-snapshot.ts'
import {
  addJob,
  addTasks,
  cancelJob,
  closeJob,
  disconnected,
  drain,
} from '../../../src/core/scheduler/transitions.ts'
import type { SchedulerState } from '../../../src/core/scheduler/state.ts'
import type { JobInfo, TaskLog } from '../../../src/protocol/client.ts'
import { driver, withJob } from './support/scheduler-driver.ts'
import { CONTEXT } from './support/scheduler-world.ts'

const OTHER = 'o'.repeat(64)

/** A scheduler whose job 1 has the tasks 0 to `tasks`, asked about by the manager. */
function setup(tasks: number) {
  const state = withJob()
  addTasks(state, 1, 0, tasks, 0)
  return state
}

const info = (tasks: number, change: Partial<JobInfo> = {}): JobInfo => ({
  id: 1,
  name: 'claims',
  context: 'ctx',
  function: 'f',
  state: 'open',
  closed: true,
  tasks,
  done: 0,
  failed: 0,
  retried: 0,
  createdAt: 0,
  ...change,
})

function explain(state: SchedulerState, change: Partial<JobSnapshot> = {}) {
  const nameOf = (id: string) => (id === CONTEXT ? 'ctx' : 'other')
  const reports = new Map()
  return explainJob({
    info: info(10),
    state,
    reports,
    nameOf,
    sites: [],
    pilots: { coming: 0, held: 0 },
    now: 60_000,
    ...change,
  })
}

const texts = (...args: Parameters<typeof explain>) => explain(...args).reasons.map(({ text }) => text)
const codes = (...args: Parameters<typeof explain>) => explain(...args).reasons.map(({ code }) => code)

describe('a job without workers', () => {
  const sites = [
    {
      site: 'gpu',
      summary: '',
      reasons: [{ code: 'in-queue', text: '2 pilots wait: Resources.', advice: 'ask' }],
    },
  ]

  test('is explained by what its sites say', () => {
    const { summary, reasons } = explain(setup(10), { sites })
    assert.equal(summary, 'job 1 (claims) is open: 0 of 10 tasks are done, 0 failed, 0 run, 10 wait')
    assert.deepEqual(reasons, [
      { code: 'no-worker', text: 'No worker is there, and no pilot is on its way.' },
      { code: 'site-in-queue', text: 'Site gpu: 2 pilots wait: Resources.', advice: 'ask' },
    ])
  })

  test('says how many pilots are on the way', () => {
    assert.match(texts(setup(10), { pilots: { coming: 2, held: 0 } })[0]!, /2 pilots are on the way/)
  })

  test('does not count pilots that are held as on the way', () => {
    const state = setup(10)
    const held = 'No worker is there, and no pilot is on its way. 1 pilot is held by the batch system.'
    assert.equal(texts(state, { pilots: { coming: 0, held: 1 } })[0], held)
    assert.match(
      texts(state, { pilots: { coming: 2, held: 1 } })[0]!,
      /: 2 pilots are on the way\. 1 pilot is held by/,
    )
  })
})

describe('a job with a worker that', () => {
  test('fetches its context says how far and how fast', () => {
    const state = setup(10)
    const fetching = {
      context: CONTEXT,
      level: 'absent' as const,
      doing: 'fetching' as const,
      bytesHeld: 4e6,
      bytesTotal: 8e6,
      fetchMs: 2000,
      attempts: 1,
    }
    driver(state, 'w1')({ contexts: [fetching], room: 0 })
    assert.deepEqual(texts(state, { reports: new Map([['w1', [fetching]]]) }), [
      'Worker w1: it is fetching context ctx: 4 MB of 8 MB are there, 2 MB/s.',
    ])
  })

  test('loads its context says for how long', () => {
    const state = setup(10)
    const loading = {
      context: CONTEXT,
      level: 'disk' as const,
      doing: 'loading' as const,
      loadMs: 3000,
      attempts: 1,
    }
    driver(state, 'w1')({ contexts: [loading], room: 0 })
    assert.match(
      texts(state, { reports: new Map([['w1', [loading]]]) })[0]!,
      /loading context ctx, for 3 s so far/,
    )
  })

  test('could not set its context up says why, and when it is tried again', () => {
    const state = setup(10)
    const failing = {
      context: CONTEXT,
      level: 'disk' as const,
      attempts: 1,
      error: { name: 'Error', message: 'no such model' },
    }
    driver(state, 'w1')({ contexts: [failing], room: 0, now: 60_000 })
    assert.deepEqual(texts(state, { reports: new Map([['w1', [failing]]]) }), [
      'Worker w1: context ctx could not be set up there: no such model; it is tried again in 1 s (attempt 2).',
    ])
  })

  test('has its tasks in hand says how many and since when, and that it is busy', () => {
    const state = setup(10)
    driver(state, 'w1')({ room: 4, now: 20_000 })
    assert.deepEqual(texts(state), [
      '4 tasks are in the hands of 1 worker, the oldest for 40 s.',
      'Worker w1: it has as much in hand as it gets done in a few seconds, and is given more as it finishes (4 tasks).',
    ])
  })

  test('leaves, has fallen silent or has no time left says so', () => {
    const state = setup(10)
    for (const id of ['w1', 'w2', 'w3']) driver(state, id)({ room: 0 })
    drain(state, 'w1', 0)
    disconnected(state, 'w2', 0)
    state.workers.get('w3')!.deadline = 59_000
    assert.deepEqual(codes(state), ['worker-draining', 'worker-silent', 'worker-out-of-time'])
  })

  test('works for another context says for which, and that this has priority', () => {
    const state = setup(10)
    addJob(state, { id: 2, context: OTHER, function: 'f', priority: 5, retries: 0 })
    addTasks(state, 2, 100, 200, 0)
    driver(state, 'w1')({ contexts: [], room: 0 })
    assert.match(texts(state)[0]!, /works for context other, which has work of higher priority/)
  })

  test('fails everything says that it is on trial', () => {
    const state = setup(40)
    const fails = driver(state, 'w1')
    const works = driver(state, 'w2')
    const done = works({ room: 1, now: 59_000 }).leases
    works({
      room: 0,
      now: 59_000,
      results: done.flatMap(({ lease, tasks }) =>
        tasks.map(({ task }) => ({ task, lease, ms: 1, outcome: { status: 'done' as const, value: 1 } })),
      ),
    })
    const { leases } = fails({ room: 20, now: 59_000 })
    fails({
      room: 20,
      now: 59_900,
      results: leases.flatMap(({ lease, tasks }) =>
        tasks.map(({ task }) => ({
          task,
          lease,
          ms: 1,
          outcome: { status: 'error' as const, error: { name: 'E', message: 'm' } },
        })),
      ),
    })
    assert.ok(state.workers.get('w1')?.trial)
    assert.ok(codes(state).some((code) => code === 'worker-on-trial' || code === 'worker-draining'))
  })
})

describe('workers with the same reason', () => {
  test('share a sentence', () => {
    const state = setup(10)
    for (let i = 1; i <= 5; i++) driver(state, `w${i}`)({ room: 0 })
    for (const id of state.workers.keys()) drain(state, id, 0)
    assert.deepEqual(texts(state), [
      '5 workers (w1, w2, w3 and 2 more): it was told to leave, and takes no more work.',
    ])
  })
})

describe('a job', () => {
  test('behind others of its context says how many tasks are before it', () => {
    const state = setup(10)
    addJob(state, { id: 2, context: CONTEXT, function: 'f', priority: 1, retries: 0 })
    addTasks(state, 2, 100, 130, 0)
    assert.equal(texts(state)[0], 'It is behind 30 tasks of 1 job of higher priority (2).')
  })

  test('whose context is broken says so first', () => {
    const { reasons } = explain(setup(10), {
      info: info(10, { problem: 'context "ctx" cannot be set up: no' }),
    })
    assert.equal(reasons[0]!.code, 'context-failed')
    assert.match(reasons[0]!.text, /Nothing of it can run: context "ctx" cannot be set up: no\./)
  })

  test('that was cancelled, or is finished, says so and nothing of workers', () => {
    const state = setup(10)
    cancelJob(state, 1, 0)
    assert.deepEqual(codes(state, { info: info(10, { state: 'cancelled', done: 4 }) }), ['cancelled'])
    const finished = info(10, { state: 'finished', done: 9, failed: 1 })
    assert.deepEqual(codes(state, { info: finished }), ['finished', 'failures'])
  })

  test('that is not closed says what it waits for', () => {
    const state = setup(0)
    assert.deepEqual(codes(state, { info: info(0, { closed: false }) }), ['not-closed'])
    closeJob(state, 1)
  })

  test('with tasks that went wrong says how many wait for another try', () => {
    const state = setup(10)
    state.jobs.get(1)!.faults.set(3, { errors: 1, crashes: 0, excuses: 0 })
    assert.ok(codes(state).includes('waits-for-retry'))
  })
})

describe('a task', () => {
  const log = (change: Partial<TaskLog> = {}): TaskLog => ({ key: 'a', status: 'queued', ...change })

  test('that waits says how many tasks of its job come first, and what happened to it before', () => {
    const state = setup(10)
    state.jobs.get(1)!.retries = 3
    state.jobs.get(1)!.faults.set(3, { errors: 1, crashes: 2, excuses: 0 })
    const [place, before] = texts(state, { task: { number: 3, log: log() } })
    assert.equal(place, 'Task a waits for a worker. It is behind 3 tasks of its own job.')
    assert.match(before!, /threw 1 time \(its job allows 3 further tries\), ended its library 2 times/)
  })

  test('that runs says where and since when', () => {
    const state = setup(10)
    driver(state, 'w1')({ room: 2, now: 50_000 })
    assert.deepEqual(texts(state, { task: { number: 0, log: log() } }), [
      'Task a is in the hands of worker w1 on w1 for 10 s, among 2 tasks that were given to it together.',
    ])
  })

  test('that has ended says how', () => {
    const state = setup(10)
    const failed = log({
      status: 'error',
      worker: 'w1',
      node: 'n1',
      ms: 1200,
      error: { name: 'E', message: 'no' },
    })
    assert.deepEqual(texts(state, { task: { number: 0, log: failed } }), [
      'Task a failed on worker w1 (n1), after 1 s: E: no',
    ])
    const done = log({ status: 'done', worker: 'w1', ms: 5 })
    assert.deepEqual(codes(state, { task: { number: 0, log: done } }), ['done'])
  })

  test('of a job that was cancelled says that it has no result', () => {
    const state = setup(10)
    cancelJob(state, 1, 0)
    const cancelled = info(10, { state: 'cancelled' })
    assert.match(
      texts(state, { info: cancelled, task: { number: 0, log: log() } })[0]!,
      /no result: the job was cancelled/,
    )
  })
})
