import assert from 'node:assert/strict'
import { test } from 'node:test'
import { siteProblems } from '../../../src/factory/policy/site-problems.ts'

const relay = (text: string) => ({ of: 'relay' as const, text })

test('a site’s queue, or the login there, and its relay are problems of their own', () => {
  const queue = { of: 'batch-system' as const, text: 'squeue: slurmctld is down' }
  const ended = 'the relay at login does not run: it has ended'
  assert.deepEqual(siteProblems(undefined, undefined), [])
  assert.deepEqual(siteProblems(queue, undefined), [queue])
  assert.deepEqual(siteProblems(undefined, ended), [relay(ended)])
  assert.deepEqual(siteProblems(queue, ended), [queue, relay(ended)])
})

test('what keeps the queue from being seen and the relay from running is told once, whenever each is tried again', () => {
  const why = 'login cannot be reached: connect ECONNREFUSED'
  const queue = { of: 'login' as const, text: `${why} (tries again in 4 s)` }
  const own = `the relay at login does not run: ${why}`
  const expected = [queue, relay('the relay at login does not run, for the same reason')]
  assert.deepEqual(siteProblems(queue, own), expected)
  assert.deepEqual(siteProblems(queue, `${own} (tries again in 31 s)`), expected)
})
