import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { endOf, judge } from '../../../src/web/policy/health-summary.ts'
import type { JobView, View, WorkerView } from '../../../src/web/view.ts'

const job: JobView = {
  id: 3,
  name: 'claims',
  context: 'ctx',
  function: 'f',
  state: 'open',
  closed: true,
  tasks: 1000,
  done: 400,
  failed: 0,
  retried: 0,
  createdAt: 1,
  rate: 30,
}

const site: View['sites'][string] = {
  name: 'here',
  kind: 'slurm',
  policy: 'fixed',
  order: 'work',
  ...{ max: 4, wanted: 2, pending: 0, running: 0, held: 0, registered: 0 },
  reasons: [],
}

const worker: WorkerView = {
  ...{ id: 'w1', site: 'here', pilot: 'p1', node: 'node1', slots: 1, state: 'active', rate: 0, leased: 0 },
  contexts: [],
}

const view = (parts: Partial<View> = {}): View => ({
  version: '0',
  startedAt: 0,
  now: 1_000_000,
  tasks: { queued: 500, leased: 100, done: 400, failed: 0 },
  rate: 0,
  ...{ duplicates: 0, evictions: 0, lost: 0, requeued: 0, earlierJobs: 0 },
  jobs: { 3: job },
  sites: { here: site },
  workers: {},
  contexts: {},
  transfers: {},
  spent: {},
  ...parts,
})

describe('a factory is', () => {
  test('working, and says when it is done, while tasks end', () => {
    const { state, left, endsInMs } = judge(view({ rate: 30, workers: { w1: worker } }))
    assert.deepEqual({ state, left, endsInMs }, { state: 'working', left: 600, endsInMs: 20_000 })
  })

  test('getting ready when workers are there and nothing has ended yet', () => {
    const { state, endsInMs } = judge(view({ workers: { w1: worker } }))
    assert.deepEqual({ state, endsInMs }, { state: 'starting', endsInMs: undefined })
  })

  test('waiting when pilots are in a queue, or boot', () => {
    assert.equal(judge(view({ sites: { here: { ...site, pending: 2 } } })).state, 'waiting')
    assert.equal(judge(view({ sites: { here: { ...site, running: 1 } } })).state, 'waiting')
  })

  test('stuck when there is work, and nothing is on the way that would do it', () => {
    assert.equal(judge(view()).state, 'stuck')
  })

  test('idle when there is nothing to do', () => {
    assert.equal(judge(view({ tasks: { queued: 0, leased: 0, done: 5, failed: 0 } })).state, 'idle')
  })
})

describe('what is wrong', () => {
  const problemsOf = (parts: Partial<View>) =>
    judge(view(parts)).problems.map(({ severity, about, text }) => `${severity} ${about}: ${text}`)

  test('is nothing where all is well', () => assert.deepEqual(problemsOf({}), []))

  test('is an error where nothing of a job can run, and comes first', () => {
    const found = problemsOf({
      jobs: { 2: { ...job, id: 2, failed: 4 }, 3: { ...job, problem: 'context "ctx" cannot be set up' } },
    })
    assert.deepEqual(found, [
      'error job 3: context "ctx" cannot be set up',
      'warning job 2: 4 tasks of "claims" failed, 0.99 % of those that ended',
    ])
  })

  test('is an error where much of a job fails', () => {
    assert.match(problemsOf({ jobs: { 3: { ...job, failed: 100 } } })[0]!, /^error job 3: 100 tasks/)
  })

  test('is not that jobs which have ended had failures', () => {
    assert.deepEqual(problemsOf({ jobs: { 3: { ...job, state: 'finished', failed: 100 } } }), [])
  })

  test('is an error where the only site is paused, and a warning while there are workers', () => {
    const sites = { here: { ...site, paused: 'no account', retryAt: 1_005_000 } }
    assert.deepEqual(problemsOf({ sites }), ['error site here: no account'])
    assert.deepEqual(problemsOf({ sites, workers: { w1: worker } }), ['warning site here: no account'])
    assert.equal(judge(view({ sites })).problems[0]!.retryAt, 1_005_000)
  })

  test('is a warning where a user has paused a site', () => {
    const sites = { here: { ...site, order: 'pause' as const, paused: 'paused by a user' } }
    assert.deepEqual(problemsOf({ sites }), ['warning site here: paused by a user'])
  })

  test('is said of all workers on which a context fails alike, once', () => {
    const error = { name: 'Error', message: 'no libcuda.so' }
    const failing = { ...worker, contexts: [{ context: 'ctx', level: 'disk' as const, error }] }
    assert.deepEqual(problemsOf({ workers: { w1: failing, w2: { ...failing, id: 'w2' } } }), [
      'warning ctx: could not be loaded on 2 workers: no libcuda.so',
    ])
  })

  test('names the nodes of workers that fell silent', () => {
    assert.deepEqual(problemsOf({ workers: { w1: { ...worker, state: 'suspect' } } }), [
      'warning workers: one has fallen silent, on node1',
    ])
  })
})

describe('the end of a job', () => {
  test('is as far off as its rate says', () => assert.equal(endOf(job), 20_000))
  test('is not known without a rate, or after it', () => {
    assert.equal(endOf({ ...job, rate: 0 }), undefined)
    assert.equal(endOf({ ...job, state: 'cancelled' }), undefined)
  })
})
