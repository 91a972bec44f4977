import assert from 'node:assert/strict'
import {
  addJob,
  addTasks,
  cancelJob,
  closeJob,
  createScheduler,
  disconnected,
  exchange,
  join,
  tick,
  type SchedulerState,
} from '../../../../src/core/scheduler/transitions.ts'
import type { Action, Reply, SchedulerConfig } from '../../../../src/core/scheduler/state.ts'
import type { AnyTaskResult, Outcome, TaskResult } from '../../../../src/protocol/task.ts'
import type { ExchangeRequest } from '../../../../src/protocol/worker.ts'

export const CONTEXT = 'a'.repeat(64)

/** A worker as seen from outside: it obeys the protocol, and dies or loses messages when told to. */
export interface SimWorker {
  id: string
  seq: number
  hand: Map<number, number>
  results: TaskResult[]
  /** The last request, until its answer has come. */
  open?: ExchangeRequest
  alive: boolean
  leaving: boolean
}

/** The real scheduler among simulated workers, with the books kept beside it. */
export class World {
  now = 1_000
  readonly state: SchedulerState
  readonly workers: SimWorker[] = []
  readonly recorded = new Map<number, AnyTaskResult['outcome']>()
  readonly submitted = new Set<number>()
  finished = false
  /** How often a task was leased a second time while it ran. */
  copied = 0
  room = 7
  /** What workers say of their speed. */
  rate = 1
  #nextTask = 0

  constructor(config: Partial<SchedulerConfig> = {}) {
    this.state = createScheduler(1, { workerTimeoutMs: 10_000, suspectMs: 1_000, ...config })
    addJob(this.state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 1 })
  }

  submit(count: number): void {
    const start = this.#nextTask
    this.#nextTask += count
    for (let task = start; task < this.#nextTask; task++) this.submitted.add(task)
    this.apply(addTasks(this.state, 1, start, this.#nextTask, this.now))
  }

  close(): void {
    this.apply(closeJob(this.state, 1))
  }

  cancel(): void {
    this.apply(cancelJob(this.state, 1, this.now))
  }

  start(): SimWorker {
    const worker: SimWorker = {
      id: `w${this.workers.length}`,
      seq: 0,
      hand: new Map(),
      results: [],
      alive: true,
      leaving: false,
    }
    this.workers.push(worker)
    join(this.state, { id: worker.id, node: worker.id, slots: 1 }, this.now)
    return worker
  }

  /** Sends a request, new or the last one again. A lost answer never reaches the worker. */
  send(worker: SimWorker, { again = false, loseAnswer = false, waitMs = 0 } = {}): void {
    if (!worker.alive) return
    if (!(again && worker.open)) {
      worker.open = {
        seq: worker.seq++,
        results: [...worker.results],
        leases: [...new Set(worker.hand.values())],
        contexts: [{ context: CONTEXT, level: 'memory', attempts: 1 }],
        want: [{ context: CONTEXT, tasks: worker.leaving ? 0 : this.room, least: 5 }],
        rate: this.rate,
        waitMs,
        ...(worker.leaving ? { leaving: 'drain' as const } : {}),
      }
    }
    let actions = exchange(this.state, worker.id, worker.open, this.now)
    if (actions === 'unknown') {
      join(this.state, { id: worker.id, node: worker.id, slots: 1 }, this.now)
      actions = exchange(this.state, worker.id, worker.open, this.now)
    }
    assert.ok(typeof actions !== 'string', `refused as ${actions as string}`)
    this.apply(actions, loseAnswer ? worker.id : undefined)
  }

  /** Ends up to `count` of the tasks a worker has in hand. */
  work(worker: SimWorker, count: number, outcome: (task: number) => Outcome): void {
    for (const [task, lease] of [...worker.hand].slice(0, count)) {
      worker.hand.delete(task)
      worker.results.push({ task, lease, outcome: outcome(task), ms: 1 })
    }
  }

  kill(worker: SimWorker, { noticed = true } = {}): void {
    worker.alive = false
    if (noticed) disconnected(this.state, worker.id, this.now)
  }

  wait(ms: number): void {
    this.now += ms
    this.apply(tick(this.state, this.now))
  }

  apply(actions: Action[], loseAnswerOf?: string): void {
    for (const action of actions) {
      if (action.type === 'record') {
        const { task, outcome } = action.result
        assert.ok(this.submitted.has(task), `task ${task} was never submitted`)
        assert.ok(!this.recorded.has(task), `task ${task} ended twice`)
        this.recorded.set(task, outcome)
      } else if (action.type === 'job-finished') this.finished = true
      else if (action.type === 'reply' && action.worker !== loseAnswerOf)
        this.#receive(action.worker, action.reply)
    }
    this.check()
  }

  #receive(id: string, reply: Reply): void {
    const worker = this.workers.find((other) => other.id === id)!
    if (!worker.alive || !worker.open) return
    const acknowledged = new Set(worker.open.results)
    delete worker.open
    worker.results = worker.results.filter((result) => !acknowledged.has(result))
    for (const task of reply.cancel) worker.hand.delete(task)
    for (const [task, lease] of worker.hand) if (reply.revoke.includes(lease)) worker.hand.delete(task)
    for (const { lease, tasks } of reply.leases) {
      for (const { task } of tasks) {
        worker.hand.set(task, lease)
        if (this.state.copies.get(task)?.id === lease) this.copied++
      }
    }
    if (reply.drain) worker.leaving = true
  }

  /** Each unfinished task is in one place: it waits, or one live worker has it, or two have it at the tail. */
  check(): void {
    const { holders, copies, workers, jobs, contexts, waiting } = this.state
    const job = jobs.get(1)
    const held = new Map<number, string>()
    let copied = 0
    for (const worker of workers.values()) {
      for (const lease of worker.leases.values()) {
        assert.equal(lease.worker, worker.id)
        const first = lease.tasks.filter((task) => holders.get(task) === lease)
        const second = lease.tasks.filter((task) => copies.get(task) === lease)
        assert.equal(lease.open, first.length + second.length)
        assert.ok(lease.open > 0, 'a lease without tasks')
        copied += second.length
        for (const task of first) held.set(task, worker.id)
      }
    }
    assert.equal(held.size, holders.size, 'a lease of a worker that is gone')
    assert.equal(copied, copies.size, 'a second lease of a worker that is gone')
    for (const [task, { worker }] of copies) {
      assert.ok(
        held.has(task) && held.get(task) !== worker,
        `task ${task} is twice on ${worker}, or only there`,
      )
    }
    for (const context of contexts.values()) {
      const queued = context.jobs.reduce((sum, { queue }) => sum + queue.size, 0)
      assert.deepEqual([context.queued, waiting.has(context)], [queued, queued > 0])
      assert.equal(
        context.leased,
        context.jobs.reduce((sum, { leased }) => sum + leased, 0),
      )
    }
    if (!job) return
    assert.equal(job.leased, held.size)
    for (const task of this.submitted) {
      const places: number =
        Number(job.queue.has(task)) + Number(held.has(task)) + Number(this.recorded.has(task))
      assert.equal(places, 1, `task ${task} is in ${places} places`)
    }
  }
}
