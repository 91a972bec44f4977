import { z } from 'zod'
import { decide, HEALTHY, type PilotView } from '../../src/core/pilot-scaling.ts'
import {
  addJob,
  addTasks,
  closeJob,
  createScheduler,
  exchange,
  join,
  lost,
  tick,
} from '../../src/core/scheduler/transitions.ts'
import type { Action, Reply } from '../../src/core/scheduler/state.ts'
import { managerDefaults } from '../../src/core/manager-defaults.ts'
import {
  afterSending,
  type LastRequest,
  nextExchange,
  NO_REQUEST,
} from '../../src/pilot/policy/exchange-pacing.ts'
import {
  moreTasks,
  observeCalls,
  oneTaskPerSlot,
  rateOf,
  tasksToStayBusy,
  unmeasured,
} from '../../src/pilot/policy/lease-sizing.ts'
import type { TaskResult } from '../../src/protocol/task.ts'
import { Random } from '../support/random.ts'
import { Timeline } from './virtual-clock.ts'

/** A pool and a job, as a file describes them. Times in seconds, sizes in bytes. */
export const Scenario = z.strictObject({
  title: z.string(),
  seed: z.int().default(1),
  job: z.strictObject({
    inferences: z.int().positive(),
    /** Inferences in one task. */
    perTask: z.int().positive().default(1),
    /** Tasks take times from an exponential distribution, as texts of any length do, instead of all the same. */
    varied: z.boolean().default(false),
    mode: z.enum(['none', 'disk', 'pervasive']).default('pervasive'),
  }),
  context: z.strictObject({
    bytes: z.number().nonnegative(),
    /** Time to unpack and load it on a GPU of speed 1, once it is on disk. */
    load: z.number().nonnegative(),
  }),
  /** Bytes per second into one node, and out of the submit node or shared filesystem. */
  link: z.strictObject({ node: z.number().positive(), source: z.number().positive() }),
  gpus: z
    .array(
      z.strictObject({
        kind: z.string(),
        count: z.int().positive(),
        /** Inferences per second. */
        rate: z.number().positive(),
      }),
    )
    .min(1),
  /** When GPUs become idle, one after the other in random order: so many per second from `from` on. Default: all at 0. */
  joining: z.strictObject({ from: z.number().default(0), perSecond: z.number().positive() }).optional(),
  /** Mean time until a running pilot is evicted, or the times at which one is. */
  evictions: z.union([z.strictObject({ mean: z.number().positive() }), z.array(z.number())]).optional(),
  pilots: z.strictObject({
    policy: z.enum(['fixed', 'demand', 'opportunistic']),
    count: z.int().default(1),
    pending: z.int().default(1),
    max: z.int(),
    /** Pilots in one submission. */
    submitSize: z.int().default(100),
  }),
  /** From the start of a job to the registration of its worker. */
  boot: z.number().default(3),
  leaseTarget: z.number().default(5),
})
export type Scenario = z.infer<typeof Scenario>

export interface PoolResult {
  /** From the submission of the job to its last result, seconds. */
  seconds: number
  pilots: number
  evictions: number
  /** Pilot-seconds by what they went into. */
  spent: { boot: number; fetch: number; load: number; inference: number; lost: number; idle: number }
  /** The longest that a worker had been without work when the last result came, seconds. */
  tail: number
  /** Points over time, for plots: seconds, pilots with a worker, inferences done. */
  points: { at: number; pilots: number; done: number }[]
  /** Real time spent in the scheduler and the scaling policy, milliseconds. */
  coreMs: number
}

const CONTEXT = 'c'.repeat(64)
const POINTS = 200

interface Gpu {
  rate: number
  busy: boolean
}

interface PoolWorker {
  id: string
  gpu: Gpu
  seq: number
  queue: { task: number; lease: number }[]
  results: TaskResult[]
  /** What it has measured of its tasks. */
  meter: typeof unmeasured
  ready: boolean
  startedAt: number
  /** Its first task runs. */
  running: boolean
  /** A request is open. */
  open: boolean
  /** When it sent its last request, and how close it came to others; see the pacing of a worker. */
  last: LastRequest
  /** Since when it has results that the manager does not have. */
  unreportedSince?: number | undefined
  /** How often it has looked whether to exchange: what an earlier look has planned is void. */
  looks: number
  /** When its last task ended. */
  endedAt: number
  /** Since when it does what it does now; what is cut short by an eviction is lost. */
  busySince?: number
  gone: boolean
}

/** It could work, and has nothing to do. */
const isIdle = ({ ready, queue }: PoolWorker) => ready && queue.length === 0

/** Runs one scenario with the real scheduler, scaling policy, lease sizing and pacing on a virtual clock. */
export function runPool(scenario: Scenario): PoolResult {
  return new Pool(scenario).run()
}

class Pool {
  readonly #scenario: Scenario
  readonly #random: Random
  readonly #time = new Timeline()
  // Heartbeats are left out: an eviction is always noticed at once.
  readonly #state = createScheduler(1, { workerTimeoutMs: Infinity })
  readonly #workers = new Map<string, PoolWorker>()
  readonly #idle: Gpu[] = []
  readonly #tasks: number
  #pending = 0
  #nextWorker = 1
  #done = 0
  #fetching = 0
  #finishedAt = -1
  /** Seconds that all pilots lived together. */
  #lived = 0
  readonly #result: PoolResult = {
    seconds: 0,
    pilots: 0,
    evictions: 0,
    spent: { boot: 0, fetch: 0, load: 0, inference: 0, lost: 0, idle: 0 },
    tail: 0,
    points: [],
    coreMs: 0,
  }

  constructor(scenario: Scenario) {
    this.#scenario = scenario
    this.#random = new Random(scenario.seed)
    this.#tasks = Math.ceil(scenario.job.inferences / scenario.job.perTask)
  }

  run(): PoolResult {
    this.#openGpus()
    addJob(this.#state, { id: 1, context: CONTEXT, function: 'f', priority: 0, retries: 0 })
    this.#core(() => addTasks(this.#state, 1, 1, this.#tasks + 1, 0))
    this.#core(() => closeJob(this.#state, 1))
    this.#time.every(1_000, () => this.#scale())
    this.#time.every(200, () => this.#core(() => tick(this.#state, this.#time.now)))
    this.#scheduleEvictions()
    this.#scale()
    this.#sample()
    while (this.#finishedAt < 0)
      if (!this.#time.step()) throw new Error('the job cannot end: nothing happens any more')
    for (const worker of this.#workers.values()) {
      this.#account(worker)
      const idle = isIdle(worker) ? (this.#finishedAt - worker.endedAt) / 1000 : 0
      if (idle < Infinity) this.#result.tail = Math.max(this.#result.tail, idle)
    }
    const { spent } = this.#result
    const { boot, fetch, load, inference, lost: cutShort } = spent
    spent.idle = this.#lived - boot - fetch - load - inference - cutShort
    this.#result.seconds = this.#finishedAt / 1000
    for (const key of Object.keys(spent) as (keyof typeof spent)[]) spent[key] = Math.round(spent[key])
    return this.#result
  }

  // --- the pool

  #openGpus(): void {
    const gpus = this.#scenario.gpus.flatMap(({ count, rate }) =>
      Array.from({ length: count }, () => ({ rate, busy: false })),
    )
    const { joining } = this.#scenario
    this.#random.shuffled(gpus).forEach((gpu, i) => {
      const at = joining ? (joining.from + i / joining.perSecond) * 1000 : 0
      this.#time.after(at, () => {
        this.#idle.push(gpu)
        this.#match()
      })
    })
  }

  /** The factory's turn. */
  #scale(): void {
    const views: PilotView[] = [
      ...[...this.#workers.values()].map((worker) => this.#view(worker.id, 'running', !isIdle(worker))),
      ...Array.from({ length: this.#pending }, (_, i) => this.#view(`pending${i}`, 'pending', true)),
    ]
    const { pilots } = this.#scenario
    let queued = 0
    for (const job of this.#state.jobs.values()) queued += job.queue.size
    const startedAt = performance.now()
    const { submit } = decide({
      config: { ...pilots, min: 1, finishWithin: 600, linger: 60 },
      pilots: views,
      demand: { queued, leased: this.#state.holders.size, ratePerPilot: 0 },
      lastWork: this.#time.now,
      health: HEALTHY,
      order: 'work',
      now: this.#time.now,
    })
    this.#result.coreMs += performance.now() - startedAt
    this.#pending += submit
    this.#match()
  }

  #view(pilot: string, state: PilotView['state'], busy: boolean): PilotView {
    return { pilot, state, registered: state === 'running', idle: !busy, since: 0 }
  }

  /** The batch system's turn: waiting pilots get idle GPUs. */
  #match(): void {
    while (this.#pending > 0 && this.#idle.length > 0) {
      this.#pending--
      this.#start(this.#idle.shift()!)
    }
  }

  #start(gpu: Gpu): void {
    const worker: PoolWorker = {
      id: `w${this.#nextWorker++}`,
      gpu,
      seq: 0,
      queue: [],
      results: [],
      meter: unmeasured,
      ready: false,
      running: false,
      open: false,
      last: NO_REQUEST,
      looks: 0,
      startedAt: this.#time.now,
      endedAt: -Infinity,
      gone: false,
    }
    this.#workers.set(worker.id, worker)
    this.#result.pilots++
    this.#after(worker, this.#scenario.boot, 'boot', () => {
      this.#core(() => {
        join(this.#state, { id: worker.id, node: worker.id, slots: 1 }, this.#time.now)
        return []
      })
      const up = () => {
        worker.ready = true
        this.#exchangeInTime(worker)
      }
      if (this.#scenario.job.mode === 'none') up()
      else this.#fetch(worker, () => (this.#scenario.job.mode === 'disk' ? up() : this.#load(worker, up)))
    })
  }

  /** With peers, a node's own link is the limit; without, all share the source's. */
  #fetch(worker: PoolWorker, then: () => void): void {
    const { context, link, job } = this.#scenario
    this.#fetching++
    const rate = job.mode === 'pervasive' ? link.node : Math.min(link.node, link.source / this.#fetching)
    this.#after(worker, context.bytes / rate, 'fetch', () => {
      this.#fetching--
      then()
    })
  }

  #load(worker: PoolWorker, then: () => void): void {
    this.#after(worker, this.#scenario.context.load, 'load', then)
  }

  /** Does something after so many seconds of a pilot's time, if it still runs then. */
  #after(worker: PoolWorker, seconds: number, what: keyof PoolResult['spent'], then: () => void): void {
    worker.busySince = this.#time.now
    this.#time.after(seconds * 1000, () => {
      if (worker.gone) return
      delete worker.busySince
      this.#result.spent[what] += seconds
      then()
    })
  }

  #scheduleEvictions(): void {
    const { evictions } = this.#scenario
    if (Array.isArray(evictions))
      for (const at of evictions) this.#time.after(at * 1000, () => this.#evictOne())
    else if (evictions) this.#evictNext(evictions.mean)
  }

  #evictNext(mean: number): void {
    const rate = Math.max(1, this.#workers.size) / mean
    this.#time.after((-Math.log(1 - this.#random.next()) / rate) * 1000, () => {
      this.#evictOne()
      this.#evictNext(mean)
    })
  }

  #evictOne(): void {
    const running = [...this.#workers.values()]
    if (running.length === 0) return
    const worker = this.#random.pick(running)
    this.#result.evictions++
    worker.gone = true
    this.#account(worker)
    this.#workers.delete(worker.id)
    this.#core(() => lost(this.#state, worker.id, this.#time.now))
    this.#idle.push(worker.gpu)
    this.#match()
  }

  // --- the worker

  /** Exchanges when a worker would; to be called whenever something has changed that bears on it. */
  #exchangeInTime(worker: PoolWorker): void {
    if (worker.gone) return
    const look = ++worker.looks
    const { now } = this.#time
    const { queue, meter, unreportedSince, last } = worker
    // A request that is held open is given up for news only.
    if (worker.open && unreportedSince === undefined) return
    const moment = { unreportedSince, last, rate: rateOf(meter), starving: queue.length <= 1 }
    const { at, waitMs } = nextExchange({ now, ...moment, warming: false }, managerDefaults.workerTimeoutMs)
    if (at <= now) return this.#exchange(worker, waitMs)
    this.#time.after(at - now, () => {
      if (worker.looks === look) this.#exchangeInTime(worker)
    })
  }

  #exchange(worker: PoolWorker, waitMs: number): void {
    const { results } = worker
    worker.results = []
    delete worker.unreportedSince
    worker.open = true
    worker.last = afterSending(worker.last, this.#time.now, { waitMs, results: results.length })
    this.#core(() => {
      const actions = exchange(
        this.#state,
        worker.id,
        {
          seq: worker.seq++,
          results,
          leases: [...new Set(worker.queue.map(({ lease }) => lease))],
          contexts: [{ context: CONTEXT, level: 'device', attempts: 1 }],
          want: [this.#wantOf(worker)],
          rate: rateOf(worker.meter),
          waitMs,
        },
        this.#time.now,
      )
      if (typeof actions === 'string') throw new Error(`exchange is ${actions}`)
      return actions
    })
  }

  /** What it asks for, as the supervisor of a node with one slot does. */
  #wantOf({ meter, queue }: PoolWorker) {
    const one = { slots: 1, batch: 1, inHand: queue.length }
    const leaseTargetMs = this.#scenario.leaseTarget * 1000
    return this.#scenario.job.mode === 'pervasive'
      ? { context: CONTEXT, tasks: moreTasks({ ...one, meter, leaseTargetMs }), least: tasksToStayBusy(one) }
      : { context: CONTEXT, tasks: oneTaskPerSlot(one), least: 1 }
  }

  #receive(worker: PoolWorker, reply: Reply): void {
    worker.open = false
    for (const { lease, tasks } of reply.leases)
      for (const { task } of tasks) worker.queue.push({ task, lease })
    this.#work(worker)
    this.#exchangeInTime(worker)
  }

  #work(worker: PoolWorker): void {
    const next = worker.queue[0]
    if (!next || worker.running) return
    worker.running = true
    const { perTask, varied } = this.#scenario.job
    const length = varied ? -Math.log(1 - this.#random.next()) : 1
    const seconds = (length * perTask) / worker.gpu.rate
    const run = () =>
      this.#after(worker, seconds, 'inference', () => {
        worker.running = false
        worker.queue.shift()
        worker.meter = observeCalls(worker.meter, 1, seconds * 1000, seconds * 1000)
        worker.endedAt = this.#time.now
        worker.results.push({ ...next, outcome: { status: 'done', value: 0 }, ms: 0 })
        worker.unreportedSince ??= this.#time.now
        this.#work(worker)
        this.#exchangeInTime(worker)
      })
    const { mode } = this.#scenario.job
    if (mode === 'none') this.#fetch(worker, () => this.#load(worker, run))
    else if (mode === 'disk') this.#load(worker, run)
    else run()
  }

  // --- the scheduler, its time taken

  #core(run: () => Action[]): void {
    const startedAt = performance.now()
    const actions = run()
    this.#result.coreMs += performance.now() - startedAt
    for (const action of actions) {
      if (action.type === 'record') this.#done++
      else if (action.type === 'job-finished') this.#finishedAt = this.#time.now
      else if (action.type === 'reply') {
        const worker = this.#workers.get(action.worker)
        if (worker) this.#receive(worker, action.reply)
      }
    }
  }

  /** Notes how long a pilot lived, and what of that was cut short. */
  #account(worker: PoolWorker): void {
    this.#lived += (this.#time.now - worker.startedAt) / 1000
    if (worker.busySince !== undefined) this.#result.spent.lost += (this.#time.now - worker.busySince) / 1000
  }

  #sample(): void {
    const { points } = this.#result
    points.push({
      at: this.#time.now / 1000,
      pilots: this.#workers.size,
      done: this.#done * this.#scenario.job.perTask,
    })
    // Twice as rare whenever there are too many: the length of the run is not known beforehand.
    if (points.length > 2 * POINTS) points.splice(0, points.length, ...points.filter((_, i) => i % 2 === 0))
    const step = points.length > 1 ? points[1]!.at - points[0]!.at : 1
    this.#time.after(step * 1000, () => this.#sample())
  }
}
