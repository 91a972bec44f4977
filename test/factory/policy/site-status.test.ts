import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HEALTHY, type PilotView } from '../../../src/core/pilot-scaling.ts'
import type { SiteConfig } from '../../../src/factory/config/config.ts'
import { type SiteSnapshot, siteStatus } from '../../../src/factory/policy/site-status.ts'

const config = { name: 'here', kind: 'slurm', policy: 'fixed', max: 2 } as SiteConfig
const pilot = (name: string): PilotView => ({
  pilot: name,
  state: 'pending',
  registered: false,
  idle: false,
  since: 0,
})
const nothing = { wanted: 2, submit: 0, bound: 'policy' as const, remove: [], drain: [] }
const worker = { id: 'w1', node: 'n', state: 'active' as const, leased: 1, tasksDone: 0, tasksFailed: 0 }

const site: SiteSnapshot = {
  config,
  pilots: [],
  jobs: [],
  decision: nothing,
  order: 'work',
  problems: [],
  warnings: [],
  silence: [],
  health: HEALTHY,
  avoidNodes: [],
  records: [],
  demand: { queued: 1, leased: 0, ratePerPilot: 0 },
  listedAt: 0,
  now: 0,
}

test('a pilot whose worker speaks counts as running, even if the queue was looked at before', () => {
  const records = [
    { pilot: 'p1', createdAt: 0, worker },
    { pilot: 'p2', createdAt: 0 },
  ]
  const { pending, running } = siteStatus({ ...site, pilots: [pilot('p1'), pilot('p2')], records })
  assert.deepEqual([pending, running], [1, 1])
})

test('the last failure of a site is told until something succeeds, also while it is tried again', () => {
  const failing = { failures: 2, failedAt: 0, until: 1, reason: 'no such account' }
  const told = (paused?: { reason: string; until: number }, health = failing) => {
    const decision = { ...nothing, ...(paused && { paused }) }
    const { paused: why, retryAt, lastFailure } = siteStatus({ ...site, decision, health })
    return [why, retryAt, lastFailure]
  }
  assert.deepEqual(told({ reason: 'no such account', until: 9 }), ['no such account', 9, undefined])
  assert.deepEqual(told(), [undefined, undefined, 'no such account'])
  assert.deepEqual(told(undefined, HEALTHY), [undefined, undefined, undefined])
})

test('a site that a user has paused or drained says so before anything that makes it pause by itself', () => {
  const decision = { ...nothing, paused: { reason: 'no such account', until: 9 } }
  const { paused, retryAt } = siteStatus({ ...site, order: 'pause', decision })
  assert.match(paused!, /paused by a user/)
  assert.equal(retryAt, undefined)
  assert.match(siteStatus({ ...site, order: 'drain' }).paused!, /drained by a user/)
  const problems = [
    { of: 'batch-system' as const, text: 'squeue: down' },
    { of: 'relay' as const, text: 'the relay does not run: it has ended' },
  ]
  const both = siteStatus({ ...site, order: 'drain', problems }).paused
  assert.equal(both, 'squeue: down; the relay does not run: it has ended')
})
