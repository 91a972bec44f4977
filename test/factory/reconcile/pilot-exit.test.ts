import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SHORTEST_USEFUL_MS, explainPilotExit } from '../../../src/factory/reconcile/pilot-exit.ts'
import type { PilotRecord } from '../../../src/core/interfaces/pilot-registry.ts'
import type { Job } from '../../../src/factory/sites/site.ts'

const NOW = 1_000_000
const unregistered: PilotRecord = { pilot: 'p1', createdAt: 0 }
const registered = (ago: number, tasksDone = 0): PilotRecord => ({
  ...unregistered,
  registeredAt: NOW - ago,
  worker: { id: 'w1', node: 'n1', state: 'active', leased: 0, tasksDone, tasksFailed: 0 },
})
const job = (more: Partial<Job>): Job => ({ jobId: '1', pilot: 'p1', state: 'ended', ...more })
const explain = (
  record: PilotRecord,
  { log = '', seen, busy = true }: { log?: string; seen?: Job; busy?: boolean } = {},
) => explainPilotExit(record, seen, log, busy, NOW)

describe('the end of a pilot', () => {
  test('before its worker was up is a failure, explained by the last words of pilot.sh', () => {
    const log = 'noise\ngleaner: p1 on gpu7: error 65 bad-hash: the runtime does not match\n'
    assert.deepEqual(explain(unregistered, { log }), {
      reason: 'the pilot ended before its worker was up (bad-hash: the runtime does not match)',
      failure: true,
      node: 'gpu7',
    })
  })

  test('in its setup is explained with what that wrote, and by its last start if it had several', () => {
    const log =
      'gleaner: p1 on n1: error 69 unreachable: no answer\n' +
      'gleaner: p1 on n2: setup runs in bash\nno module cuda/99\n' +
      'gleaner: p1 on n2: error 73 setup-failed: line 1 (module) ended with exit code 1\n'
    assert.deepEqual(explain(unregistered, { log }), {
      reason:
        'the pilot ended before its worker was up (setup-failed: line 1 (module) ended with exit code 1); its setup wrote:\n' +
        'no module cuda/99',
      failure: true,
      node: 'n2',
    })
    const silent = log.replace('no module cuda/99\n', '')
    assert.match(explain(unregistered, { log: silent }).reason, /exit code 1\)$/)
  })

  test('without last words is explained by the batch system and the end of the log', () => {
    const { reason, failure } = explain(unregistered, {
      log: 'Segmentation fault\n',
      seen: job({ reason: 'OUT_OF_MEMORY', node: 'n3' }),
    })
    assert.equal(failure, true)
    assert.match(reason, /\(OUT_OF_MEMORY\); its log ends:\nSegmentation fault$/)
  })

  test('by an eviction is no failure, however early', () => {
    const log = 'gleaner: p1 on n1: error 143 evicted: told to leave\n'
    assert.equal(explain(unregistered, { log }).failure, false)
    assert.equal(explain(unregistered, { seen: job({ reason: 'PREEMPTED', evicted: true }) }).failure, false)
  })

  test('after it has worked is no failure', () => {
    assert.equal(explain(registered(100, 5)).failure, false)
    assert.equal(explain(registered(SHORTEST_USEFUL_MS + 1)).failure, false)
  })

  test('right after it came up, with work left undone, is a failure', () => {
    assert.equal(explain(registered(2000)).failure, true)
    assert.match(explain(registered(2000)).reason, /^the pilot ended 2 s after its worker was up/)
    assert.equal(explain(registered(2000), { busy: false }).failure, false)
  })

  test('is never said to have come before its worker was up', () => {
    assert.match(explain(registered(-2000)).reason, /^the pilot ended 0 s after its worker was up/)
  })

  test('of a submission without an answer says that no job has turned up', () => {
    assert.match(
      explain(unregistered).reason,
      /its submission was not answered, and no job of it has turned up/,
    )
    assert.match(explain({ ...unregistered, jobId: '7' }).reason, /it gave no reason/)
  })

  test('is not explained by what its job once waited for', () => {
    assert.doesNotMatch(
      explain(unregistered, { seen: job({ state: 'pending', reason: 'Priority' }) }).reason,
      /Priority/,
    )
  })
})
