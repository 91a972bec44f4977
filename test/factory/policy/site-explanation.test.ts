import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decide, HEALTHY, type PilotView, type ScalingInput } from '../../../src/core/pilot-scaling.ts'
import type { SiteConfig } from '../../../src/factory/config/config.ts'
import { explainSite } from '../../../src/factory/policy/site-explanation.ts'
import type { SiteSnapshot } from '../../../src/factory/policy/site-status.ts'

const config = {
  name: 'gpu',
  kind: 'slurm',
  policy: 'fixed',
  count: 4,
  min: 1,
  max: 4,
  pending: 2,
  finishWithin: 600,
  linger: 60,
  submitSize: 100,
  submitRate: 12,
} as SiteConfig

const pilots = (state: PilotView['state'], number: number): PilotView[] =>
  Array.from({ length: number }, (_, i) => ({
    pilot: `${state}${i}`,
    state,
    registered: state === 'running',
    idle: false,
    since: 0,
  }))

/** A site as it is after its decision for a situation. */
function explain(situation: Partial<ScalingInput>, more: Partial<SiteSnapshot> = {}) {
  const input: ScalingInput = {
    config,
    pilots: [],
    demand: { queued: 100, leased: 0, ratePerPilot: 0 },
    lastWork: 0,
    health: HEALTHY,
    order: 'work',
    now: 1000,
    ...situation,
  }
  return explainSite({
    ...input,
    config: input.config as SiteConfig,
    jobs: [],
    decision: decide(input),
    problems: [],
    warnings: [],
    silence: [],
    avoidNodes: [],
    records: [],
    listedAt: 0,
    ...more,
  })
}

const codes = (...args: Parameters<typeof explain>) => explain(...args).reasons.map(({ code }) => code)

test('a site with all the pilots it wants says which setting that comes from', () => {
  const { summary, reasons } = explain({ pilots: pilots('running', 4) })
  assert.equal(summary, 'site gpu (slurm) wants 4 pilots and has 4 running, 0 waiting in the queue, 0 held')
  assert.deepEqual(reasons, [
    {
      code: 'as-wanted',
      text: 'It has all the pilots that its policy wants: fixed, 4 pilots.',
      advice: 'a larger sites.gpu.count wants more',
    },
  ])
})

test('a site at its maximum says so, and counts those that are leaving', () => {
  const here = [...pilots('running', 3), ...pilots('ending', 1)]
  const { reasons } = explain({ pilots: here })
  assert.match(reasons[0]!.text, /at its maximum of 4 pilots, 1 pilot among them that is leaving/)
})

test('a site whose pilots wait repeats what the batch system says', () => {
  const jobs = [{ jobId: '1', pilot: 'pending0', state: 'pending' as const, reason: 'Resources' }]
  const { reasons } = explain({ pilots: pilots('pending', 4) }, { jobs })
  assert.match(reasons.at(-1)!.text, /1 pilot at gpu waits; the batch system says: Resources\./)
  assert.match(reasons.at(-1)!.advice!, /squeue --me --start/)
})

test('a site whose pilots run without having registered says so, and not that they wait', () => {
  const silence = [
    { reason: 'running for 80 s, not registered: setup runs', pilots: 2, state: 'running' as const },
  ]
  const last = explain({ pilots: pilots('running', 4) }, { silence }).reasons.at(-1)!
  assert.deepEqual(
    [last.code, last.text],
    ['not-registered', '2 pilots at gpu are running for 80 s, not registered: setup runs.'],
  )
})

test('a site with held pilots says that a person has to let them go or remove them, and how', () => {
  const jobs = [{ jobId: '1', pilot: 'held0', state: 'held' as const, reason: 'no such file' }]
  const { reasons } = explain({ pilots: pilots('held', 1) }, { jobs })
  const [why, held] = reasons.slice(-2)
  assert.match(why!.text, /^1 pilot at gpu is held; the batch system says: no such file\.$/)
  assert.equal(why!.advice, undefined)
  assert.equal(held!.code, 'held')
  assert.match(
    held!.text,
    /^1 pilot is held, and counted among the 4 .* until a person releases or removes it\.$/,
  )
  assert.match(held!.advice!, /"scontrol release ID" lets it go on/)
  const removed = { ...config, removeHeldAfter: 600 } as SiteConfig
  assert.match(
    explain({ pilots: pilots('held', 1), config: removed }, { jobs }).reasons.at(-1)!.text,
    /or the factory does so after 10 min\.$/,
  )
})

test('a site that backs off says for how long and why, and after that that it tries one pilot first', () => {
  const health = { failures: 2, failedAt: 0, until: 31_000, reason: 'no such account' }
  const { reasons } = explain({ health })
  assert.deepEqual(
    reasons.map(({ code }) => code),
    ['backing-off'],
  )
  assert.match(reasons[0]!.text, /for another 30 s, because .*: no such account\./)
  assert.deepEqual(codes({ health, now: 40_000 }), ['submitting', 'last-failure'])
  assert.deepEqual(codes({ health, now: 40_000, pilots: pilots('pending', 1) }), ['on-trial', 'last-failure'])
})

test('a site says what a user told it, that there is no work, or that enough pilots are on the way', () => {
  assert.deepEqual(codes({ order: 'pause' }), ['paused'])
  assert.deepEqual(codes({ order: 'drain' }), ['drained'])
  assert.deepEqual(codes({ demand: { queued: 0, leased: 0, ratePerPilot: 0 } }), ['no-work'])
  const demand = { queued: 1, leased: 0, ratePerPilot: 0 }
  assert.deepEqual(codes({ demand, pilots: pilots('pending', 1) }), ['enough-on-the-way'])
})

test('a site that cannot ask its batch system says so first, and then what it knows', () => {
  const here = {
    problems: [{ of: 'batch-system' as const, text: 'squeue: command not found' }],
    warnings: ['odd line'],
    avoidNodes: ['n1'],
  }
  assert.deepEqual(codes({}, here), ['batch-system', 'submitting', 'warning', 'avoided-nodes'])
  const problems = (['login', 'relay'] as const).map((of) => ({ of, text: `no ${of}` }))
  const [login, relay, ...more] = explain({}, { problems }).reasons
  assert.match(login!.text, /logged in.*: no login\.$/)
  assert.equal(login!.advice, '"factory login gpu" logs in')
  assert.match(relay!.text, /Pilots do not reach the manager.*: no relay\.$/)
  assert.deepEqual(
    more.map(({ code }) => code),
    ['submitting'],
  )
})
