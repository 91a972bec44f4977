import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addJob,
  addTasks,
  cancelJob,
  cancelTasks,
  closeJob,
  createScheduler,
  disconnected,
  drain,
  dropEverywhere,
  exchange,
  giveBack,
  join,
  lost,
  type SchedulerState,
  tick,
} from '../../../src/core/scheduler/transitions.ts'
import type { Worker } from '../../../src/core/scheduler/state.ts'
import { inHandOf, takesWork } from '../../../src/core/scheduler/worker-view.ts'
import type { Outcome, TaskResult } from '../../../src/protocol/task.ts'
import { request } from './support/scheduler-driver.ts'

const CONTEXTS = ['a'.repeat(64), 'b'.repeat(64)]
const JOBS = [1, 2, 3, 4]
const WORKERS = ['w0', 'w1', 'w2', 'w3']

const gone = { name: 'Error', message: 'no' }
const outcomes: Outcome[] = [
  { status: 'done', value: 1 },
  { status: 'error', error: gone },
  { status: 'crash', error: gone },
  { status: 'returned' },
]

const worker = fc.constantFrom(...WORKERS)
const job = fc.constantFrom(...JOBS)
const few = fc.nat(12)
const turn = fc.record({
  do: fc.constant('turn' as const),
  worker,
  ends: few,
  outcome: fc.constantFrom(outcomes[0]!, ...outcomes),
  /** It never got the answer to its last request. */
  missed: fc.boolean(),
  holds: fc.subarray(CONTEXTS, { minLength: 1 }),
  room: few,
  least: fc.nat(4),
  rate: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 1e-9, max: 1e9, noNaN: true })),
  waitMs: fc.constantFrom(0, 20_000),
})
const step = fc.oneof(
  { weight: 12, arbitrary: turn },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), job, count: few }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 500, 8_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel tasks' as const), job, count: few }) },
  ...(['cancel', 'close'] as const).map((what) => ({
    weight: 1,
    arbitrary: fc.record({ do: fc.constant(what), job }),
  })),
  ...(['break', 'lose', 'drain', 'give back'] as const).map((what) => ({
    weight: 1,
    arbitrary: fc.record({ do: fc.constant(what), worker }),
  })),
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('drop' as const), context: fc.constantFrom(...CONTEXTS) }),
  },
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** The scheduler among workers that hold, end and miss what they like. */
class Histories {
  readonly state = createScheduler(1, {
    workerTimeoutMs: 10_000,
    suspectMs: 1_000,
    slowMs: 100,
    slowFactor: 0.1,
  })
  #now = 0
  #seq = 0
  #nextTask = 0

  constructor() {
    for (const id of JOBS)
      addJob(this.state, { id, context: CONTEXTS[id % 2]!, function: 'f', priority: id % 3, retries: 1 })
  }

  take(step: Step): void {
    const { state } = this
    const now = this.#now
    switch (step.do) {
      case 'turn':
        return this.#turn(step)
      case 'wait':
        return void tick(state, (this.#now += step.ms))
      case 'add':
        return void addTasks(state, step.job, this.#nextTask, (this.#nextTask += step.count), now)
      case 'close':
        return void closeJob(state, step.job)
      case 'cancel':
        return void cancelJob(state, step.job, now)
      case 'cancel tasks':
        return void cancelTasks(state, step.job, this.#lastTasks(step.count), now)
      case 'drop':
        return void dropEverywhere(state, step.context, now)
      case 'break':
        return disconnected(state, step.worker, now)
      case 'lose':
        return void lost(state, step.worker, now)
      case 'drain':
        return void drain(state, step.worker, now)
      case 'give back':
        return this.#giveBack(step.worker)
    }
  }

  #giveBack(id: string): void {
    const [lease] = this.state.workers.get(id)?.leases.values() ?? []
    if (lease) giveBack(this.state, id, lease.id, lease.tasks, this.#now)
  }

  #lastTasks(count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.#nextTask - 1 - 2 * i)
  }

  #turn({
    worker: id,
    ends,
    outcome,
    missed,
    holds,
    room,
    least,
    rate,
    waitMs,
  }: Extract<Step, { do: 'turn' }>): void {
    const { state } = this
    if (!state.workers.has(id)) join(state, { id, node: id, slots: 2 }, this.#now)
    const leases = [...state.workers.get(id)!.leases.values()]
    const known = missed ? leases.slice(1) : leases
    const results: TaskResult[] = known
      .flatMap(({ id: lease, tasks }) => tasks.map((task) => ({ task, lease, outcome, ms: 1 })))
      .slice(0, ends)
    const came = exchange(
      state,
      id,
      request({
        seq: this.#seq++,
        results,
        leases: known.map(({ id: lease }) => lease),
        contexts: holds.map((context) => ({ context, level: 'memory', attempts: 1 })),
        want: holds.map((context) => ({ context, tasks: room, least: Math.min(least, room) })),
        rate,
        waitMs,
      }),
      this.#now,
    )
    assert.ok(typeof came !== 'string')
  }
}

function checkCounts(state: SchedulerState): void {
  for (const context of state.contexts.values()) {
    const { id, jobs, leased, ready, rate } = context
    const held = [...state.holders.values()].filter((lease) => lease.job.context === id).length
    const ofJobs = jobs.reduce((sum, other) => sum + other.leased, 0)
    assert.deepEqual([leased, ofJobs], [held, held])
    const workers = [...state.workers.values()].filter((other) => other.ready.includes(id))
    assert.equal(ready, workers.length)
    assert.ok(rate >= 0, `a rate of ${rate}`)
  }
}

/** Whoever waits for work of a context has what keeps its libraries busy, as long as any is queued. */
function checkNobodyStarves(state: SchedulerState): void {
  for (const [id, other] of state.workers)
    if (other.parkedUntil !== undefined && !other.trial && takesWork(other, 0))
      for (const context of openIn(state, other)) {
        const least = Math.max(1, other.least.get(context) ?? 0)
        assert.ok(inHandOf(other, context) >= least, `${id} waits, with work queued`)
      }
}

/** Contexts with work queued that a worker has room for. */
function openIn(state: SchedulerState, { want }: Worker): string[] {
  return [...want].flatMap(([id, room]) => (room > 0 && state.contexts.get(id)!.queued > 0 ? [id] : []))
}

test('through any history, what is in hand is counted right, and no worker with room waits for work that is queued', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80, size: 'max' }), (steps) => {
      const histories = new Histories()
      for (const one of steps) {
        histories.take(one)
        checkCounts(histories.state)
        checkNobodyStarves(histories.state)
      }
    }),
    { numRuns: 3_000 },
  )
})
