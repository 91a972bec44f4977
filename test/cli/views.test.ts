import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { RunProgress, Status } from '../../src/client/index.ts'
import { describeRetry } from '../../src/cli/commands/jobs/retry.ts'
import { progressLine, progressLines, type RunView } from '../../src/cli/views/progress/progress-view.ts'
import { statusText } from '../../src/cli/views/status-view.ts'
import type { JobInfo } from '../../src/protocol/client.ts'

const JOB: JobInfo = {
  id: 3,
  name: 'claims.jsonl-abc',
  context: 'fact-verification',
  function: 'verify',
  state: 'open',
  closed: true,
  tasks: 10_000,
  done: 4_000,
  failed: 12,
  retried: 0,
  createdAt: 0,
}

const STATUS: Status = {
  version: '0.1.0',
  startedAt: 0,
  now: 65_000,
  tasks: { queued: 5_900, leased: 88, done: 4_000, failed: 12 },
  rate: 312.4,
  duplicates: 0,
  evictions: 1,
  lost: 2,
  requeued: 64,
  jobs: [JOB],
  earlierJobs: 0,
  workers: [
    {
      id: 'w1',
      site: 'here',
      pilot: 'p1',
      node: 'node1',
      slots: 1,
      state: 'active',
      rate: 150,
      leased: 88,
      oldestMs: 1_500_000,
      contexts: [{ context: 'fact-verification', level: 'memory' }],
    },
    {
      id: 'w2',
      site: 'here',
      pilot: 'p2',
      node: 'node1',
      slots: 1,
      state: 'active',
      rate: 0,
      leased: 0,
      contexts: [
        { context: 'fact-verification', level: 'absent', doing: 'fetching', bytesHeld: 4e6, bytesTotal: 8e6 },
      ],
    },
  ],
  sites: [
    {
      name: 'here',
      kind: 'local',
      policy: 'fixed',
      order: 'work',
      max: 3,
      wanted: 3,
      pending: 1,
      running: 2,
      held: 0,
      registered: 2,
      reasons: [],
    },
  ],
  transfers: [
    {
      worker: 'w2',
      bundle: 'b'.repeat(64),
      heldBytes: 4e6,
      totalBytes: 8e6,
      from: [
        { source: 'manager', bytes: 5e5 },
        { source: 'w1', bytes: 2e6 },
        { source: 'w3', bytes: 6e5 },
        { source: 'w4', bytes: 4e5 },
        { source: 'w5', bytes: 3e5 },
        { source: 'w6', bytes: 2e5 },
      ],
    },
    { worker: 'w7', bundle: 'c'.repeat(64), heldBytes: 0, totalBytes: 0, from: [] },
  ],
  contexts: [
    {
      context: 'fact-verification',
      id: 'a'.repeat(64),
      fetchMs: 800,
      loadMs: 3_000,
      loads: 2,
      inferenceMs: 62_000,
      inferences: 4_012,
    },
  ],
}

const progress: RunProgress = {
  phase: 'running',
  input: { tasks: 10_000, invalid: 0, hasTwins: false, examples: [] },
  job: JOB,
  submitted: 10_000,
  done: 4_000,
  failed: 12,
  resumed: 0,
  changed: 0,
}

describe('the progress of a run', () => {
  const view: RunView = { progress, status: STATUS, rate: 300, notice: undefined }

  test('shows how far it is, how fast, how long still, and who works on it', () => {
    assert.deepEqual(progressLines(view, 200), [
      '██████████░░░░░░░░░░░░░░ 40 %  4,012 of 10,000  300/s  20 s left  12 failed',
      'here: 2 of 3 pilots (1 pending)  ·  fact-verification: 1 memory, 1 fetching',
    ])
  })

  test('fits the terminal', () => {
    for (const line of progressLines(view, 40)) assert.equal([...line].length, 40)
  })

  test('tells what keeps it from moving', () => {
    const notice = 'the manager cannot be reached'
    assert.match(progressLine({ ...view, notice }), /· {2}the manager cannot be reached$/)
    const paused = {
      ...STATUS,
      sites: STATUS.sites.map((site) => ({ ...site, paused: 'pilots die at once' })),
    }
    assert.match(progressLine({ ...view, status: paused }), /here: pilots die at once/)
  })

  test('has something to say before there is a job', () => {
    const begun: RunProgress = { phase: 'checking', submitted: 0, done: 0, failed: 0, resumed: 0, changed: 0 }
    assert.equal(
      progressLine({ progress: begun, status: undefined, rate: 0, notice: undefined }),
      'reading the input',
    )
  })
})

test('the status of a factory has tasks, jobs, sites, workers, contexts and who fetches what from whom', () => {
  const text = statusText(STATUS, '/home/me/.gleaner')
  const expected = [
    /^factory 0.1.0 on \/home\/me\/.gleaner, up 1 min 5 s$/m,
    /^tasks: 5,900 queued, 88 running, 4,000 done, 12 failed; 312\/s$/m,
    /^evictions: 1; lost workers: 2; tasks given back: 64$/m,
    /^3 +claims.jsonl-abc +fact-verification +open +4,000 +12 +10,000 /m,
    /^here +local +fixed +3 +1 +2 +0$/m,
    /^w1 +here +node1 +active +150\/s +88 +25 min +fact-verification memory$/m,
    /^w2 .* fact-verification fetching 4 MB of 8 MB$/m,
    /^fact-verification +1 memory +2 +800 ms +3 s +4,012 +1 min 2 s$/m,
    /^w2 +b{12} +4 MB of 8 MB +w1 2 MB, w3 600 kB, manager 500 kB, w4 400 kB, 2 others 500 kB$/m,
    /^w7 +c{12} +begins$/m,
  ]
  for (const line of expected) assert.match(text, line)
})

describe('what went wrong', () => {
  const long = `submission failed: ${'sbatch: error: Batch job submission failed: Invalid account. '.repeat(20)}`
  const log = `the pilot ended before its worker was up; its log ends:\nline one\nline two`

  test('stands below the tables, which stay as wide as a terminal', () => {
    const site = STATUS.sites[0]!
    const text = statusText(
      {
        ...STATUS,
        jobs: [{ ...JOB, problem: `context "c" cannot be set up: ${long}` }],
        sites: [
          { ...site, paused: long, retryAt: STATUS.now },
          { ...site, name: 'there', paused: log },
        ],
        workers: STATUS.workers.map((worker) => ({
          ...worker,
          contexts: [{ context: 'c', level: 'absent', error: { name: 'Error', message: long } }],
        })),
      },
      '/s',
    )
    for (const line of text.split('\n').filter((line) => !line.startsWith('  ')))
      assert.ok(line.length < 130, line)
    assert.match(text, /^ {2}job 3: context "c" cannot be set up: /m)
    assert.match(text, /^ {2}here: next try at [\d:]{8}: submission failed: .*Invalid account/m)
    assert.match(text, /^ {2}there: .*ends:\n {4}line one\n {4}line two$/m)
    assert.match(text, /^ {2}w1, w2: c failed: submission failed/m)
  })

  test('stays in sight while it is tried again, until something succeeds', () => {
    const site = { ...STATUS.sites[0]!, lastFailure: 'no such account' }
    assert.match(statusText({ ...STATUS, sites: [site] }, '/s'), /last failure: no such account/)
    const view: RunView = { progress, status: { ...STATUS, sites: [site] }, rate: 300, notice: undefined }
    assert.match(progressLine(view), /here: no such account/)
  })

  test('is one line in the progress, once for all sites that it is wrong with', () => {
    const site = { ...STATUS.sites[0]!, paused: log }
    const sites = [site, { ...site, name: 'there' }]
    const line = progressLine({ progress, status: { ...STATUS, sites }, rate: 300, notice: undefined })
    assert.doesNotMatch(line, /\n/)
    assert.equal(line.split('the pilot ended').length, 2)
    assert.match(line, /here, there: the pilot ended/)
  })
})

test('a retry says what runs again, and that nothing does where nothing has failed', () => {
  const say = (retried: number, done: number, failed: number) =>
    describeRetry({ retried, job: { tasks: 10, done, failed } })
  assert.equal(say(0, 10, 0), 'none of its tasks has failed: there is nothing to run again')
  assert.equal(say(0, 9, 0), 'none of its tasks has failed; 1 task without a result runs')
  assert.equal(say(3, 7, 0), '3 tasks that had failed run again')
  assert.equal(say(1, 4, 0), '1 task that had failed runs again, and 5 tasks that had no result yet')
})
