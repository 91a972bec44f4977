import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Circumstances, type Sighting, matchPilots } from '../../../src/factory/policy/match-pilots.ts'
import type { PilotRecord } from '../../../src/core/interfaces/pilot-registry.ts'
import type { Job, JobState } from '../../../src/factory/sites/site.ts'

const LISTED = 1_000_000
const LATENESS = 60_000
const job = (pilot: string, state: JobState = 'running', more: Partial<Job> = {}): Job => ({
  jobId: `j-${pilot}`,
  pilot,
  state,
  ...more,
})
const record = (pilot: string, more: Partial<PilotRecord> = {}): PilotRecord => ({
  pilot,
  createdAt: LISTED - 100_000,
  ...more,
})
const submitted = (pilot: string, submittedAt = LISTED - 90_000) =>
  record(pilot, { jobId: `j-${pilot}`, submittedAt })
const at = (more: Partial<Circumstances> = {}): Circumstances => ({
  listedAt: LISTED,
  lateness: LATENESS,
  certain: false,
  before: [],
  removed: new Set(),
  ...more,
})
const listing = (jobs: Job[], complete = true) => ({ jobs, complete })
const states = (jobs: Job[], records: PilotRecord[]) =>
  matchPilots(listing(jobs), records, at()).pilots.map(({ pilot, state }) => [pilot, state])
/** What becomes of one pilot in looks `every` milliseconds apart that show these jobs: `gone`, or its state. */
function looks(
  record: PilotRecord,
  queue: (Job[] | 'unreadable')[],
  more: Partial<Circumstances> = {},
  every = 1000,
) {
  let before = more.before ?? []
  return queue.map((jobs, turn) => {
    const shown = jobs === 'unreadable' ? listing([], false) : listing(jobs)
    const found = matchPilots(shown, [record], at({ ...more, before, listedAt: LISTED + turn * every }))
    before = found.pilots
    return found.gone.length > 0 ? 'gone' : before[0]!.state
  })
}
const worker = (state: 'active' | 'suspect') =>
  ({ id: 'w1', node: 'n1', state, leased: 1, tasksDone: 0, tasksFailed: 0 }) as const
const working = (pilot: string) =>
  record(pilot, { ...submitted(pilot), registeredAt: LISTED - 80_000, worker: worker('active') })

describe('reconciling queue and ledger', () => {
  test('takes a pilot’s state from the queue', () => {
    assert.deepEqual(states([job('p1', 'pending'), job('p2', 'held')], [submitted('p1'), submitted('p2')]), [
      ['p1', 'pending'],
      ['p2', 'held'],
    ])
  })

  test('adopts jobs whose submission was not recorded', () => {
    const { adopted, pilots } = matchPilots(listing([job('p1')]), [record('p1')], at())
    assert.deepEqual(adopted, [{ pilot: 'p1', jobId: 'j-p1' }])
    assert.equal(pilots.length, 1)
  })

  test('gives up pilots that have left the queue, with what it still says of them', () => {
    const ended = job('p2', 'ended', { reason: 'TIMEOUT' })
    const first = matchPilots(listing([ended]), [submitted('p1'), submitted('p2')], at())
    assert.deepEqual(first.gone, [{ record: submitted('p2'), job: ended }])
    const second = matchPilots(listing([]), [submitted('p1')], at({ before: first.pilots }))
    assert.deepEqual(second, { adopted: [], gone: [{ record: submitted('p1') }], orphans: [], pilots: [] })
  })

  test('does not take an empty answer for the end of all pilots', () => {
    assert.deepEqual(looks(submitted('p1'), [[job('p1')], [], [], [job('p1', 'pending')]]), [
      'running',
      'running',
      'running',
      'pending',
    ])
  })

  test('gives up a pilot that is missing for as long as a queue can be late', () => {
    assert.deepEqual(looks(submitted('p1'), [[job('p1')], [], []], {}, LATENESS), [
      'running',
      'running',
      'gone',
    ])
  })

  test('does not give up a pilot that was submitted a moment ago and is not shown yet', () => {
    const fresh = submitted('p1', LISTED - 12_000)
    assert.deepEqual(looks(fresh, [[], [], [job('p1', 'pending')]]), ['submitting', 'submitting', 'pending'])
  })

  test('believes a worker that is heard of, whatever the queue says', () => {
    const cancelled = [job('p1', 'ended', { reason: 'CANCELLED' })]
    assert.deepEqual(looks(working('p1'), [[], cancelled, [], []], {}, LATENESS), Array(4).fill('running'))
    const [unregistered] = matchPilots(listing([job('p1')]), [submitted('p1')], at()).pilots as [Sighting]
    const lately = record('p1', { ...submitted('p1'), registeredAt: LISTED })
    assert.deepEqual(looks(lately, [cancelled], { before: [unregistered] }), ['running'])
  })

  test('gives up a pilot that parted from its worker once two looks do not show it', () => {
    for (const now of [undefined, worker('suspect')]) {
      const { worker: _, ...rest } = working('p1')
      const parted = now ? { ...rest, worker: now } : rest
      assert.deepEqual(looks(parted, [[job('p1')], [], []]), ['running', 'running', 'gone'])
    }
  })

  test('believes the queue of a pilot whose job was told to go', () => {
    const removed = new Set(['p1'])
    assert.deepEqual(looks(working('p1'), [[job('p1', 'ending')], [], []], { removed }), [
      'ending',
      'ending',
      'gone',
    ])
  })

  test('counts no look in which some records could not be read', () => {
    const seen = [[job('p1', 'ending')], 'unreadable', 'unreadable', [], []] satisfies (
      Job[] | 'unreadable'
    )[]
    assert.deepEqual(looks(submitted('p1'), seen), ['ending', 'ending', 'ending', 'ending', 'gone'])
  })

  test('takes a job in an unknown state for alive', () => {
    assert.deepEqual(looks(submitted('p1'), [[job('p1', 'pending')], [job('p1', 'unknown')]]), [
      'pending',
      'pending',
    ])
    assert.deepEqual(looks(submitted('p1'), [[job('p1', 'unknown')]]), ['running'])
  })

  test('knows a pilot’s job by the number it was submitted under, and removes others that claim to be it', () => {
    const stranger = job('p1', 'ended', { jobId: 'j-other' })
    const held = job('p1', 'held', { jobId: 'j-held' })
    const found = matchPilots(listing([job('p1'), stranger, held]), [submitted('p1')], at())
    assert.deepEqual(found.gone, [])
    assert.deepEqual(found.orphans, [held])
    assert.equal(found.pilots[0]?.state, 'running')
    const unreadable = job('unknown-j-p1', 'unknown', { jobId: 'j-p1' })
    assert.deepEqual(matchPilots(listing([unreadable]), [submitted('p1')], at()).orphans, [])
  })

  test('keeps one job of a pilot whose submission was given twice', () => {
    const twice = [
      job('p1', 'ended', { jobId: '1' }),
      job('p1', 'running', { jobId: '2' }),
      job('p1', 'pending', { jobId: '3' }),
    ]
    const found = matchPilots(listing(twice), [record('p1')], at())
    assert.deepEqual(found.adopted, [{ pilot: 'p1', jobId: '2' }])
    assert.deepEqual(found.orphans, [twice[2]])
  })

  test('believes a site that sees the pilots themselves at once', () => {
    assert.deepEqual(looks(working('p1'), [[]], { certain: true }), ['gone'])
  })

  test('does not give up a pilot that was submitted after the queue was asked', () => {
    assert.deepEqual(states([], [submitted('p1', LISTED + 1)]), [['p1', 'submitting']])
  })

  test('counts a pilot whose submission got no answer, until its job must have shown', () => {
    assert.deepEqual(states([], [record('p1', { createdAt: LISTED - LATENESS + 1 })]), [['p1', 'submitting']])
    assert.deepEqual(looks(record('p1', { createdAt: LISTED - LATENESS }), [[], []]), ['submitting', 'gone'])
  })

  test('finds jobs of pilots that were given up, which take room until they are gone', () => {
    const jobs = [job('p8', 'pending'), job('p9', 'ending'), job('p7', 'ended')]
    const { orphans, pilots } = matchPilots(listing(jobs), [], at())
    assert.deepEqual(orphans, [job('p8', 'pending')])
    assert.deepEqual(
      pilots.map(({ pilot, state }) => [pilot, state]),
      [
        ['p8', 'ending'],
        ['p9', 'ending'],
      ],
    )
  })

  test('remembers since when a pilot has been in its state', () => {
    const first = matchPilots(listing([job('p1', 'held')]), [submitted('p1')], at())
    const second = matchPilots(
      listing([job('p1', 'held')]),
      [submitted('p1')],
      at({ before: first.pilots, listedAt: LISTED + 5000 }),
    )
    assert.equal(second.pilots[0]?.since, LISTED)
    const third = matchPilots(
      listing([job('p1', 'pending')]),
      [submitted('p1')],
      at({ before: second.pilots, listedAt: LISTED + 9000 }),
    )
    assert.equal(third.pilots[0]?.since, LISTED + 9000)
  })
})
