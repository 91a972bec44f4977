import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  HEALTHY,
  type Health,
  PAUSE_FIRST,
  PAUSE_LONGEST,
  type PilotView,
  type ScalingConfig,
  type ScalingInput,
  decide,
  failed,
  succeeded,
} from '../../src/core/pilot-scaling.ts'

const config: ScalingConfig = {
  policy: 'fixed',
  count: 4,
  min: 1,
  max: 10,
  pending: 2,
  finishWithin: 600,
  linger: 60,
  submitSize: 100,
}

const anyConfig = fc.record({
  policy: fc.constantFrom('fixed' as const, 'demand' as const, 'opportunistic' as const),
  count: fc.nat(20),
  min: fc.nat(10),
  max: fc.nat(15),
  pending: fc.integer({ min: 1, max: 8 }),
  finishWithin: fc.integer({ min: 1, max: 3600 }),
  linger: fc.nat(100),
  removeHeldAfter: fc.option(fc.nat(100), { nil: undefined }),
  submitSize: fc.integer({ min: 1, max: 50 }),
})

const anyPilots = fc
  .array(
    fc.record({
      state: fc.constantFrom(
        'submitting' as const,
        'pending' as const,
        'running' as const,
        'held' as const,
        'ending' as const,
      ),
      registered: fc.boolean(),
      idle: fc.boolean(),
      since: fc.nat(200_000),
    }),
    { maxLength: 25 },
  )
  .map((views) =>
    views.map((view, i): PilotView => ({ ...view, idle: view.idle && view.registered, pilot: `p${i}` })),
  )

const anyHealth: fc.Arbitrary<Health> = fc.record({
  failures: fc.nat(30),
  failedAt: fc.nat(200_000),
  until: fc.nat(400_000),
  reason: fc.constant('it broke'),
})

const anyInput: fc.Arbitrary<ScalingInput> = fc.record({
  config: anyConfig,
  pilots: anyPilots,
  demand: fc.record({
    queued: fc.nat(50),
    leased: fc.nat(50),
    ratePerPilot: fc.oneof(fc.constant(0), fc.double({ min: 0.01, max: 100, noNaN: true })),
  }),
  lastWork: fc.nat(200_000),
  health: anyHealth,
  order: fc.constantFrom('work' as const, 'pause' as const, 'drain' as const),
  now: fc.nat(400_000),
})

/** Every decision, whatever the situation, has this property. */
function always(property: (input: ScalingInput) => void) {
  fc.assert(fc.property(anyInput, property), { numRuns: 2000 })
}

const running = (count: number): PilotView[] =>
  Array.from({ length: count }, (_, i) => ({
    pilot: `r${i}`,
    state: 'running',
    registered: true,
    idle: false,
    since: 0,
  }))
const inState = (count: number, state: PilotView['state']): PilotView[] =>
  Array.from({ length: count }, (_, i) => ({
    pilot: `${state}${i}`,
    state,
    registered: false,
    idle: false,
    since: 0,
  }))

const decideFor = (change: Partial<ScalingInput>) =>
  decide({
    config,
    pilots: [],
    demand: { queued: 1000, leased: 0, ratePerPilot: 1 },
    lastWork: 0,
    health: HEALTHY,
    order: 'work',
    now: 0,
    ...change,
  })

describe('scaling, in any situation', () => {
  test('never goes over the maximum', () =>
    always((input) => {
      const { submit } = decide(input)
      assert.ok(submit >= 0)
      if (submit > 0) assert.ok(input.pilots.length + submit <= input.config.max)
    }))

  test('never submits a pilot that would find nothing to run', () =>
    always((input) => {
      const { submit } = decide(input)
      const onTheWay = input.pilots.filter(
        ({ registered, state }) => !registered && state !== 'held' && state !== 'ending',
      )
      if (submit > 0) assert.ok(submit + onTheWay.length <= input.demand.queued)
    }))

  test('removes only pilots that wait or are held, and drains only idle ones unless told to drain all', () =>
    always((input) => {
      const { remove, drain } = decide(input)
      const mayLeave = (view: PilotView) => (input.order === 'drain' ? view.registered : view.idle)
      const byName = new Map(input.pilots.map((view) => [view.pilot, view]))
      for (const pilot of remove) assert.match(byName.get(pilot)!.state, /^(pending|held)$/)
      for (const pilot of drain) assert.ok(mayLeave(byName.get(pilot)!))
    }))

  test('submits nothing while it pauses, and at most one pilot at a time until one has succeeded', () =>
    always((input) => {
      const { submit, paused } = decide(input)
      if (paused) assert.equal(submit, 0)
      if (input.health.failures > 0) assert.ok(submit <= 1)
      if (input.now < input.health.until) assert.equal(submit, 0)
    }))
})

describe('a user', () => {
  const pilots = [...running(2), ...inState(1, 'pending'), ...inState(1, 'held')]

  test('who pauses a site has it submit nothing, and leave what is there', () => {
    const { submit, bound, remove, drain } = decideFor({ order: 'pause', pilots })
    assert.deepEqual({ submit, bound, remove, drain }, { submit: 0, bound: 'order', remove: [], drain: [] })
  })

  test('who drains a site has what waits removed and what runs leave', () => {
    const { submit, remove, drain } = decideFor({ order: 'drain', pilots })
    assert.deepEqual(
      { submit, remove, drain },
      { submit: 0, remove: ['pending0', 'held0'], drain: ['r0', 'r1'] },
    )
  })
})

describe('what keeps a site from submitting more', () => {
  const bound = (change: Partial<ScalingInput>) => decideFor(change).bound

  test('is always something that submitting one more would break', () =>
    always((input) => {
      const { bound, submit } = decide(input)
      const { demand, pilots, health, now, order, config } = input
      const onTheWay = pilots.filter(
        ({ registered, state }) => !registered && state !== 'held' && state !== 'ending',
      ).length
      const holds = {
        order: order !== 'work',
        'no-work': demand.queued + demand.leased === 0,
        policy: true,
        max: pilots.length + submit >= config.max || decide(input).wanted === config.max,
        'on-the-way': onTheWay + submit >= demand.queued,
        pause: now < health.until,
        trial: health.failures > 0,
        'submit-size': submit === config.submitSize,
      }
      assert.ok(holds[bound], bound)
    }))

  test('is its policy, its maximum, or what is on the way', () => {
    assert.equal(bound({ pilots: running(4) }), 'policy')
    assert.equal(bound({ config: { ...config, max: 2 }, pilots: running(2) }), 'max')
    const demand = { queued: 1, leased: 0, ratePerPilot: 0 }
    assert.equal(bound({ demand, pilots: inState(1, 'pending') }), 'on-the-way')
  })
})

describe('the fixed policy', () => {
  test('fills up to its count while there is work', () => {
    assert.equal(decideFor({ pilots: running(1) }).submit, 3)
    assert.equal(decideFor({ pilots: [...running(2), ...inState(2, 'pending')] }).submit, 0)
  })

  test('counts held pilots, which would only be followed by more of them', () => {
    assert.equal(decideFor({ pilots: inState(4, 'held') }).submit, 0)
  })

  test('lets those that are leaving go before it fills their places up to the maximum', () => {
    const small = { ...config, max: 4 }
    assert.equal(decideFor({ config: small, pilots: [...running(3), ...inState(1, 'ending')] }).submit, 0)
    assert.equal(decideFor({ pilots: [...running(3), ...inState(1, 'ending')] }).submit, 1)
  })
})

describe('the demand policy', () => {
  const demanding: ScalingConfig = { ...config, policy: 'demand', finishWithin: 100 }

  test('asks for as many as finish the backlog in time at the measured rate', () => {
    const demand = { queued: 900, leased: 100, ratePerPilot: 2 }
    assert.equal(decideFor({ config: demanding, demand }).wanted, 5)
  })

  test('starts with its minimum while the rate is unknown', () => {
    const demand = { queued: 900, leased: 0, ratePerPilot: 0 }
    assert.equal(decideFor({ config: demanding, demand }).submit, 1)
    assert.equal(decideFor({ config: { ...demanding, min: 3 }, demand }).submit, 3)
  })
})

describe('the opportunistic policy', () => {
  const greedy: ScalingConfig = { ...config, policy: 'opportunistic' }

  test('keeps some pilots waiting beside those that run, up to the maximum', () => {
    assert.equal(decideFor({ config: greedy }).submit, 2)
    assert.equal(decideFor({ config: greedy, pilots: [...running(5), ...inState(1, 'pending')] }).submit, 1)
    assert.equal(decideFor({ config: greedy, pilots: running(9) }).submit, 1)
    assert.equal(decideFor({ config: greedy, pilots: running(10) }).submit, 0)
  })
})

describe('pilots that wait', () => {
  const idle = { queued: 0, leased: 0, ratePerPilot: 1 }
  const pilots = [...running(1), ...inState(2, 'pending')]

  test('are removed when there has been no work for a while', () => {
    assert.deepEqual(decideFor({ demand: idle, pilots, lastWork: 0, now: 59_999 }).remove, [])
    assert.deepEqual(decideFor({ demand: idle, pilots, lastWork: 0, now: 60_000 }).remove, [
      'pending1',
      'pending0',
    ])
  })

  test('are removed, the newest first, when the maximum was lowered', () => {
    assert.deepEqual(decideFor({ config: { ...config, max: 2 }, pilots }).remove, ['pending1'])
  })

  test('are removed after being held for as long as the site allows', () => {
    const strict = { ...config, removeHeldAfter: 30 }
    assert.deepEqual(decideFor({ config: strict, pilots: inState(1, 'held'), now: 29_999 }).remove, [])
    assert.deepEqual(decideFor({ config: strict, pilots: inState(1, 'held'), now: 30_000 }).remove, ['held0'])
  })
})

describe('a site that fails', () => {
  const failure = (submittedAt: number) => ({ submittedAt, reason: 'it broke' })

  test('pauses for longer each time, up to a limit, and is tried again after each pause', () => {
    let health = HEALTHY
    let now = 0
    let last = 0
    for (let round = 0; round < 20; round++) {
      health = failed(health, failure(now), now + 1)
      now = health.until
      const pause = health.until - health.failedAt
      assert.ok(pause >= last && pause <= PAUSE_LONGEST)
      last = pause
      assert.deepEqual(decideFor({ health, now: now - 1 }).paused, { reason: 'it broke', until: now })
      assert.equal(decideFor({ health, now }).submit, 1)
      assert.equal(decideFor({ health, now, pilots: inState(1, 'pending') }).submit, 0)
    }
    assert.equal(last, PAUSE_LONGEST)
  })

  test('takes pilots that were submitted together and fail together as one failure', () => {
    let health = HEALTHY
    for (let i = 0; i < 50; i++) health = failed(health, failure(10), 100 + i)
    assert.equal(health.until, 100 + PAUSE_FIRST)
  })

  test('is well again as soon as a pilot that came up later is of use', () => {
    const health = failed(HEALTHY, failure(10), 100)
    assert.equal(succeeded(health, { registeredAt: 90 }), health)
    assert.equal(succeeded(health, { registeredAt: 101 }), HEALTHY)
  })
})
