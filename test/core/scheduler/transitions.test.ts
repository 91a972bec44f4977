import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  addJob,
  addTasks,
  cancelJob,
  cancelTasks,
  createScheduler,
  drain,
  exchange,
  join,
  tick,
  trustAgain,
} from '../../../src/core/scheduler/transitions.ts'
import type { Action } from '../../../src/core/scheduler/state.ts'
import type { ContextReport } from '../../../src/protocol/worker.ts'
import type { Outcome } from '../../../src/protocol/task.ts'
import { driver, player, quiet, replyOf, request, withJob } from './support/scheduler-driver.ts'
import { CONTEXT, World } from './support/scheduler-world.ts'

const done: Outcome = { status: 'done', value: 1 }
const error: Outcome = { status: 'error', error: { name: 'Error', message: 'no' } }
const crash: Outcome = { status: 'crash', error: { name: 'Crash', message: 'segfault' } }
const returned: Outcome = { status: 'returned' }

const which = fc.nat({ max: 5 })
const step = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('submit' as const), count: fc.integer({ min: 1, max: 12 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('start' as const) }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      which,
      again: fc.boolean(),
      loseAnswer: fc.boolean(),
      waitMs: fc.constantFrom(0, 0, 5_000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('work' as const),
      which,
      count: fc.nat({ max: 6 }),
      outcome: fc.constantFrom(done, done, done, error, crash, returned),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), which, noticed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 900, 2_000, 11_000) }),
  },
)

describe('through any history', () => {
  test('every task ends exactly once, none is lost, and two workers hold one only at the tail', () => {
    let copied = 0
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
        const world = new World({ slowMs: 100, slowFactor: 0.1 })
        for (const s of steps) {
          const worker = 'which' in s ? world.workers[s.which % Math.max(1, world.workers.length)] : undefined
          if (s.do === 'submit') world.submit(s.count)
          else if (s.do === 'start') world.start()
          else if (s.do === 'wait') world.wait(s.ms)
          else if (!worker) continue
          else if (s.do === 'send') world.send(worker, s)
          else if (s.do === 'work') world.work(worker, s.count, () => s.outcome)
          else if (s.do === 'kill') world.kill(worker, s)
          else worker.leaving = true
        }
        finishWithOneGoodWorker(world)
        assert.equal(world.recorded.size, world.submitted.size)
        assert.ok(world.finished)
        copied += world.copied
      }),
      { numRuns: 500 },
    )
    assert.ok(copied > 5, `${copied} tasks ran twice`)
  })
})

/** The faults stop: all old workers vanish and a new one does what is left. */
function finishWithOneGoodWorker(world: World): void {
  for (const worker of world.workers) world.kill(worker)
  world.wait(20_000)
  world.close()
  const worker = world.start()
  for (let i = 0; i < 1_000 && !world.finished; i++) {
    world.send(worker)
    world.work(worker, 100, () => done)
  }
}

test('a worker that stops without a word has its tasks queued again, and a value it sends later still counts once', () => {
  const world = new World()
  world.submit(5)
  const [slow, fast] = [world.start(), world.start()]
  world.room = 5
  world.send(slow)
  assert.equal(slow.hand.size, 5)
  world.wait(10_001)
  world.send(fast)
  assert.equal(fast.hand.size, 5)
  world.work(slow, 2, () => done)
  world.send(slow)
  assert.equal(world.recorded.size, 2)
  world.work(fast, 5, () => done)
  world.send(fast)
  assert.equal(world.recorded.size, 5)
  assert.equal(world.state.counts.duplicates, 2)
})

test('a failure reported under a lease that lapsed changes nothing', () => {
  const world = new World()
  world.submit(1)
  const [slow, fast] = [world.start(), world.start()]
  world.send(slow)
  world.wait(10_001)
  world.send(fast)
  world.work(slow, 1, () => error)
  world.send(slow)
  assert.ok(fast.hand.has(0))
  assert.equal(world.state.holders.get(0)?.worker, fast.id)
  assert.equal(world.recorded.size, 0)
})

test('a lease in an answer that got lost is given back with the next request', () => {
  const world = new World()
  world.submit(3)
  const worker = world.start()
  world.send(worker, { loseAnswer: true })
  assert.equal(worker.hand.size, 0)
  world.send(worker)
  assert.equal(worker.hand.size, 3)
})

test('a broken connection is given up sooner than a silent one, and forgiven when the worker is back', () => {
  const world = new World()
  world.submit(2)
  const worker = world.start()
  world.send(worker)
  world.kill(worker)
  world.wait(900)
  worker.alive = true
  world.send(worker)
  world.wait(900)
  assert.ok(world.state.workers.has(worker.id))
  world.kill(worker)
  world.wait(1_001)
  assert.ok(!world.state.workers.has(worker.id))
})

test('an evicted task is never charged for it', () => {
  const world = new World()
  world.submit(1)
  for (let i = 0; i < 20; i++) {
    const worker = world.start()
    world.send(worker)
    assert.equal(worker.hand.size, 1)
    world.kill(worker)
    world.wait(1_001)
  }
  finishWithOneGoodWorker(world)
  assert.deepEqual(world.recorded.get(0), done)
})

test('a task that crashes its library three times is set aside and runs alone after the first', () => {
  const world = new World()
  world.submit(1)
  const worker = world.start()
  for (let tries = 1; tries <= 3; tries++) {
    assert.equal(world.recorded.size, 0)
    world.send(worker)
    if (tries > 1) assert.ok(world.state.jobs.get(1)?.faults.get(0)?.crashes)
    world.work(worker, 1, () => crash)
  }
  world.send(worker)
  assert.deepEqual(world.recorded.get(0), crash)
})

test('an error on a worker that never finished anything is tried once more for free', () => {
  const state = withJob()
  addTasks(state, 1, 0, 1, 0)
  const worker = driver(state, 'w1')
  const first = worker({}).leases[0]!
  const second = worker({ results: [{ task: 0, lease: first.lease, outcome: error, ms: 1 }] })
  assert.equal(second.leases[0]?.tasks[0]?.task, 0)
  worker({ results: [{ task: 0, lease: second.leases[0].lease, outcome: error, ms: 1 }] })
  assert.deepEqual(worker.recorded(), [0])
})

test('a node that only fails where others succeed is drained and told once', () => {
  const state = createScheduler(1)
  addJob(state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 9 })
  addTasks(state, 1, 0, 100, 0)
  const good = driver(state, 'w1')
  const bad = driver(state, 'w2')
  const lease = good({ room: 1 }).leases[0]!
  good({ room: 0, results: [{ task: lease.tasks[0]!.task, lease: lease.lease, outcome: done, ms: 1 }] })
  for (let i = 0; i < 12; i++) {
    const grant = bad({ room: 1 }).leases[0]
    if (!grant) break
    bad({ room: 0, results: [{ task: grant.tasks[0]!.task, lease: grant.lease, outcome: error, ms: 1 }] })
  }
  assert.equal(bad.actions.filter((action) => action.type === 'black-hole').length, 1)
  assert.equal(bad({ room: 5 }).drain, true)
})

test('a node that fails everything before others come uses up no task', () => {
  const state = withJob()
  addTasks(state, 1, 0, 200, 0)
  const bad = player(state, 'bad', () => error)
  for (let now = 0; now < 5000; now += 100) bad.turn(now)
  assert.ok(bad.tried < 20, `${bad.tried} tasks tried in 5 s`)
  const good = player(state, 'good', () => done)
  for (let now = 5000; now < 8000; now += 100) for (const worker of [bad, good]) worker.turn(now)
  assert.equal(good.recorded().length, 200)
  assert.deepEqual(bad.recorded(), [])
  assert.equal(bad.actions.filter((action) => action.type === 'black-hole').length, 1)
})

test('a node that worked and then fails everything is found out before it has used up much', () => {
  const state = withJob()
  addTasks(state, 1, 0, 1500, 0)
  let broken = false
  const bad = player(state, 'bad', () => (broken ? error : done))
  const good = player(state, 'good', () => done)
  for (let now = 0; now < 20_000; now += 100) {
    broken = now >= 1000
    for (const worker of [bad, good]) worker.turn(now)
  }
  assert.equal(bad.recorded().length + good.recorded().length, 1500)
  const failed = bad.actions.filter(
    (action) => action.type === 'record' && action.result.outcome.status === 'error',
  ).length
  assert.ok(failed < state.config.blackHoleFailures, `${failed} tasks failed`)
  assert.equal(bad.actions.filter((action) => action.type === 'black-hole').length, 1)
})

test('a worker that failed many tasks in a row goes on at full speed once it finishes one', () => {
  const state = withJob()
  addTasks(state, 1, 0, 500, 0)
  const worker = player(state, 'w1', (task) => (task >= 100 && task < 112 ? error : done))
  const other = player(state, 'w2', (task) => (task >= 100 && task < 112 ? error : done))
  for (let now = 0; now < 15_000; now += 100) for (const { turn } of [worker, other]) turn(now)
  assert.equal(worker.recorded().length + other.recorded().length, 500)
  assert.ok([worker, other].every(({ actions }) => !actions.some(({ type }) => type === 'black-hole')))
})

test('a node that fails everything waits for the pilots that are on their way, if no other node failed', () => {
  const state = withJob()
  addTasks(state, 1, 0, 500, 0)
  state.coming = 1
  const bad = player(state, 'bad', () => error)
  for (let now = 0; now < 60_000; now += 100) bad.turn(now)
  assert.ok(bad.tried < 80, `${bad.tried} tasks tried in a minute`)
  assert.deepEqual(bad.recorded(), [])
  const worse = player(state, 'worse', () => error)
  for (let now = 60_000; now < 100_000; now += 100) for (const { turn } of [bad, worse]) turn(now)
  assert.equal(bad.recorded().length + worse.recorded().length, 500)
})

test('where everybody fails, the tasks are at fault, and soon all have their errors', () => {
  const state = withJob()
  addTasks(state, 1, 0, 500, 0)
  const workers = ['w1', 'w2'].map((id) => player(state, id, () => error))
  for (let now = 0; now < 30_000; now += 100) for (const { turn } of workers) turn(now)
  assert.equal(workers.flatMap((worker) => worker.recorded()).length, 500)
  assert.ok(workers.every(({ actions }) => !actions.some(({ type }) => type === 'black-hole')))
})

test('work is shared by measured speed when little is left', () => {
  const state = withJob()
  const fast = driver(state, 'w1')
  const slow = driver(state, 'w2')
  fast({ rate: 80, room: 0 })
  slow({ rate: 10, room: 0 })
  addTasks(state, 1, 0, 45, 0)
  assert.equal(slow({ rate: 10, room: 90 }).leases[0]?.tasks.length, 5)
  assert.equal(fast({ rate: 80, room: 90 }).leases[0]?.tasks.length, 36)
})

test('of the work that is left, a worker has no more than half its part in hand, so that what is not known yet can be made good', () => {
  const state = withJob()
  const first = driver(state, 'w1')
  const late = driver(state, 'w2')
  first({ rate: 10, room: 0 })
  late({ rate: 10, room: 0 })
  addTasks(state, 1, 0, 80, 0)
  const [lease] = first({ rate: 10, room: 50 }).leases
  assert.equal(lease?.tasks.length, 20)
  assert.equal(first({ rate: 10, room: 30, leases: [lease.lease] }).leases.length, 0)
  assert.equal(late({ rate: 10, room: 50 }).leases[0]?.tasks.length, 20)
})

test('however little is left, a worker may have what its libraries need to be busy', () => {
  const shareOf = (least?: number) => {
    const state = withJob()
    const worker = driver(state, 'w1')
    worker({ rate: 10, room: 0 })
    addTasks(state, 1, 0, 20, 0)
    return worker({ rate: 10, want: [{ context: CONTEXT, tasks: 20, ...(least && { least }) }] }).leases[0]
      ?.tasks.length
  }
  assert.equal(shareOf(), 10)
  assert.equal(shareOf(16), 16)
})

test('a worker past its deadline gets nothing, whatever it asks', () => {
  const state = withJob()
  addTasks(state, 1, 0, 9, 0)
  join(state, { id: 'w1', node: 'n', slots: 1, deadline: 500 }, 0)
  assert.equal(replyOf(exchange(state, 'w1', request({ room: 3 }), 499))?.leases.length, 1)
  assert.equal(
    replyOf(exchange(state, 'w1', request({ room: 3, seq: 1, leases: [1] }), 500))?.leases.length,
    0,
  )
})

test('a setup that fails everywhere is tried a few times with pauses, then reported once', () => {
  const state = withJob({ setupRetryMs: 1_000 })
  addTasks(state, 1, 0, 9, 0)
  join(state, { id: 'w1', node: 'n', slots: 1 }, 0)
  const failure = { name: 'Error', message: 'no such file' }
  const failed = (attempts: number): ContextReport[] => [
    { context: CONTEXT, level: 'disk', attempts, error: failure },
  ]
  const broken: Action[] = []
  let now = 0
  for (let attempt = 1; attempt <= 3; attempt++) {
    now += 10_000
    assert.deepEqual(replyOf(tick(state, now)) ?? replyOf(poll(attempt * 10)), { ...quiet, warm: [CONTEXT] })
    const actions = exchange(
      state,
      'w1',
      request({ seq: attempt * 10 + 1, contexts: failed(attempt) }),
      now,
    ) as Action[]
    assert.deepEqual(replyOf(actions)?.warm, [])
    broken.push(...actions.filter((action) => action.type === 'context-broken'))
  }
  assert.deepEqual(broken, [{ type: 'context-broken', context: CONTEXT, error: failure }])
  assert.equal(state.jobs.get(1)?.queue.size, 9, 'its tasks are kept')

  function poll(seq: number): Action[] {
    return exchange(state, 'w1', request({ seq, contexts: [] }), now) as Action[]
  }
})

test('a context that is asked for again is tried at once where it failed, and one more failure tells that it is broken still', () => {
  const state = withJob({ setupRetryMs: 1_000 })
  addTasks(state, 1, 0, 9, 0)
  const worker = driver(state, 'w1')
  const failed = (attempts: number, message: string): ContextReport[] => [
    { context: CONTEXT, level: 'disk', attempts, error: { name: 'Error', message } },
  ]
  for (const attempt of [1, 2, 3, 4, 5]) worker({ room: 0, contexts: failed(attempt, 'old'), now: attempt })
  assert.equal(state.contexts.get(CONTEXT)?.broken?.message, 'old')
  assert.deepEqual(
    worker({ room: 0, contexts: failed(5, 'old'), now: 10 }).warm,
    [],
    'the next try is far away',
  )

  trustAgain(state, CONTEXT)
  const { warm, again } = worker({ room: 0, contexts: failed(5, 'old'), now: 11 })
  assert.deepEqual([warm, again], [[CONTEXT], [CONTEXT]])
  assert.deepEqual(worker({ room: 0, contexts: failed(5, 'old'), now: 12 }).again, [], 'once')
  assert.equal(state.contexts.get(CONTEXT)?.broken, undefined, 'what it failed of before is known already')
  worker({ room: 0, contexts: failed(6, 'new'), now: 13 })
  assert.equal(state.contexts.get(CONTEXT)?.broken?.message, 'new')
})

test('a cancelled job is forgotten and its workers are told', () => {
  const state = withJob()
  addTasks(state, 1, 0, 9, 0)
  const worker = driver(state, 'w1')
  worker({ room: 3 })
  cancelJob(state, 1, 0)
  assert.deepEqual(worker({ room: 3, leases: [1] }).cancel, [0, 1, 2])
  assert.equal(state.holders.size, 0)
})

test('draining is told with every answer until the worker says that it leaves', () => {
  const state = createScheduler(1)
  const worker = driver(state, 'w1')
  worker({})
  drain(state, 'w1', 0)
  assert.equal(worker({}).drain, true)
  assert.equal(worker({}).drain, true)
  worker({ leaving: 'drain' })
  assert.equal(state.workers.size, 0)
})

test('tasks cancelled by themselves end as failed, wherever they are, and the others go on', () => {
  const world = new World()
  world.room = 2
  world.submit(4)
  const worker = world.start()
  world.send(worker)
  assert.deepEqual([...worker.hand.keys()], [0, 1])
  const leases = new Map(worker.hand)
  world.room = 0
  world.send(worker, { waitMs: 1_000 })
  world.apply(cancelTasks(world.state, 1, [1, 2, 77], world.now))
  assert.deepEqual([...world.recorded.keys()], [1, 2])
  assert.equal(world.recorded.get(1)?.status, 'error')
  assert.ok(!worker.hand.has(1), 'the worker is told')
  // What it says of the task all the same is too late.
  worker.results.push({ task: 1, lease: leases.get(1)!, outcome: done, ms: 1 })
  world.work(worker, 1, () => done)
  world.room = 2
  world.send(worker)
  world.work(worker, 1, () => done)
  world.close()
  world.send(worker)
  assert.ok(world.finished)
  assert.deepEqual(
    [...world.recorded.values()].map(({ status }) => status),
    ['error', 'error', 'done', 'done'],
  )
})
