import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pilotStatuses } from '../../../src/factory/policy/pilot-status.ts'
import type { SiteSnapshot } from '../../../src/factory/policy/site-status.ts'

const view = { registered: false, idle: false, since: 1 }

test('a pilot is told with its job, why it waits, and the worker that it runs', () => {
  const site = {
    config: { name: 'gpu' },
    pilots: [
      { ...view, pilot: 'p1', state: 'pending' },
      { ...view, pilot: 'p2', state: 'submitting' },
      { ...view, pilot: 'p3', state: 'running' },
    ],
    jobs: [
      { pilot: 'p1', jobId: '7_0', state: 'pending', reason: 'Priority' },
      { pilot: 'p3', jobId: '7_2', state: 'running', node: 'n3', reason: 'None' },
    ],
    records: [
      { pilot: 'p1', createdAt: 10, submittedAt: 11 },
      {
        ...{ pilot: 'p2', createdAt: 10, jobId: '8', registeredAt: 30 },
        worker: { id: 'w1', node: 'n2', state: 'active', leased: 3, tasksDone: 4, tasksFailed: 0 },
      },
    ],
  } as unknown as SiteSnapshot
  const worker = { id: 'w1', state: 'active', leased: 3, tasksDone: 4, tasksFailed: 0 }
  assert.deepEqual(pilotStatuses(site), [
    {
      ...{ pilot: 'p1', site: 'gpu', state: 'pending', jobId: '7_0', reason: 'Priority' },
      ...{ createdAt: 10, submittedAt: 11 },
    },
    {
      ...{ pilot: 'p2', site: 'gpu', state: 'running', jobId: '8', node: 'n2', worker },
      ...{ createdAt: 10, registeredAt: 30 },
    },
    // The factory does not know it, as after a ledger that was restored.
    { pilot: 'p3', site: 'gpu', state: 'running', jobId: '7_2', node: 'n3' },
  ])
})

test('a pilot whose worker has left, or is not heard of, is not told to run until the queue was seen again', () => {
  const told = (how: 'left' | 'lost', listedAt: number) => {
    const site = {
      ...{
        config: { name: 'gpu' },
        listedAt,
        pilots: [{ ...view, registered: true, pilot: 'p1', state: 'running' }],
      },
      jobs: [{ pilot: 'p1', jobId: '7', state: 'running' }],
      records: [{ pilot: 'p1', createdAt: 10, registeredAt: 20, parted: { how, at: 100 } }],
    } as unknown as SiteSnapshot
    const [{ state, reason }] = pilotStatuses(site) as [ReturnType<typeof pilotStatuses>[number]]
    return [state, reason]
  }
  assert.deepEqual(told('left', 90), ['ending', 'its worker has left'])
  assert.deepEqual(told('lost', 90), ['lost', 'its worker is not heard of any more'])
  assert.deepEqual(told('lost', 110), ['running', undefined])
})
