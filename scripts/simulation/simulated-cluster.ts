import type { SchedulerState } from '../../src/core/scheduler/state.ts'
import { type Core, realCore } from './planted-bugs.ts'
import { SimManager } from './manager.ts'
import { SimNetwork } from './network.ts'
import { makePlan, type Plan } from './run-plan.ts'
import { SimSite } from './site.ts'
import { Timeline } from './virtual-clock.ts'

/** After the faults have stopped, everything must be done within this, milliseconds. */
const RECOVERY = 3 * 3_600_000
/** Steps between checks of the whole state: it is as large as the work. */
const CHECK_EVERY = 7

/** Something happened that must not. */
export class Violation extends Error {
  override name = 'Violation'
}

export interface Outcome {
  seed: number
  steps: number
  /** Virtual time it took, milliseconds. */
  ms: number
  tasks: number
  restarts: number
  evictions: number
  /** Tasks that ran a second time because the first was slow. */
  copied: number
}

/** One simulated run: manager, factory, site, workers and the network between them on one virtual clock. */
export class World {
  readonly plan: Plan
  readonly time = new Timeline()
  readonly network: SimNetwork
  readonly manager: SimManager
  readonly site: SimSite
  /** What the clients were told is safe: the independent record. */
  readonly acknowledged = new Set<string>()
  #clientsDone = 0
  #restarts = 0
  #evictions = 0

  constructor(seed: number, core: Core = realCore) {
    this.plan = makePlan(seed)
    this.network = new SimNetwork(this)
    this.manager = new SimManager(this, core)
    this.site = new SimSite(this, core)
    this.plan.jobs.forEach((_, job) => this.#submitJob(job + 1))
    this.#schedule(this.plan.everyEviction, () => {
      this.#evictions++
      this.site.evict()
    })
    this.#schedule(this.plan.everyRestart, () => this.restartManager())
    this.#schedule(this.plan.everyFreeze, () => this.manager.freeze(this.plan.random.between(1_000, 60_000)))
    this.#schedule(this.plan.everyPartition, () => this.#disturbWorker())
  }

  fail(what: string): never {
    throw new Violation(`seed ${this.plan.seed}, after ${this.time.now} ms: ${what}`)
  }

  /** Runs until all is done. @throws {Violation} */
  run(): Outcome {
    let steps = 0
    while (!this.#finished()) {
      if (this.time.now > this.plan.calmAt + RECOVERY) this.fail(`no end: ${this.#missing()}`)
      if (!this.time.step()) this.fail('nothing happens any more')
      if (++steps % CHECK_EVERY === 0) checkLeases(this, this.manager.state)
    }
    this.#checkResults()
    const { seed } = this.plan
    const tasks = this.manager.results.size
    const { copied } = this.manager
    return {
      seed,
      steps,
      ms: this.time.now,
      tasks,
      restarts: this.#restarts,
      evictions: this.#evictions,
      copied,
    }
  }

  faultOf(peer: string): ReturnType<SimSite['faultOf']> {
    return this.site.faultOf(peer)
  }

  restartManager(): void {
    this.#restarts++
    this.manager.kill()
    this.time.after(this.plan.random.between(100, 20_000), () => {
      if (this.manager.up) return
      this.manager.start()
      this.site.restartFactory()
    })
  }

  /** Does something again and again, at random, until the faults stop. */
  #schedule(mean: number, fault: () => void): void {
    if (mean === Infinity) return
    this.time.after(this.plan.random.between(1, 2 * mean), () => {
      if (this.time.now >= this.plan.calmAt) return
      fault()
      this.#schedule(mean, fault)
    })
  }

  #disturbWorker(): void {
    const { random } = this.plan
    const { running } = this.site
    if (running.length === 0) return
    const { worker } = random.pick(running)
    if (!worker) return
    const ms = random.between(1_000, 90_000)
    if (random.chance(0.5)) worker.pause(ms)
    else this.network.partition(worker.id, ms)
  }

  /** A client adds a job's tasks batch by batch, again until it is told that they are safe. */
  #submitJob(job: number): void {
    const kinds = this.plan.jobs[job - 1]!
    const batch = (from: number): void => {
      const tasks = kinds.slice(from, from + 20).map((kind, i) => ({ key: `${job}-${from + i}`, kind }))
      const attempt = () => {
        if (tasks.every(({ key }) => this.acknowledged.has(key))) return
        if (this.manager.up) {
          this.manager.add(job, tasks, () => {
            if (this.acknowledged.has(tasks[0]!.key)) return
            for (const { key } of tasks) this.acknowledged.add(key)
            if (from + 20 < kinds.length)
              this.time.after(this.plan.random.between(1, 30_000), () => batch(from + 20))
            else this.#closeJob(job)
          })
        }
        this.time.after(2_000, attempt)
      }
      attempt()
    }
    this.time.after(this.plan.random.between(1, 20_000), () => batch(0))
  }

  #closeJob(job: number): void {
    if (!this.manager.up) return this.time.after(1_000, () => this.#closeJob(job))
    this.manager.close(job)
    this.#clientsDone++
  }

  #finished(): boolean {
    if (this.#clientsDone < this.plan.jobs.length) return false
    return this.manager.results.size === this.manager.keys.size
  }

  #missing(): string {
    const { keys, results } = this.manager
    return [...keys]
      .filter(([, task]) => !results.has(task))
      .map(([key]) => key)
      .join(' ')
  }

  /** Each task has one result, and the right one. */
  #checkResults(): void {
    const { keys, results, kinds } = this.manager
    const harmless = !this.plan.nodes.some((node) => node.blackHole)
    for (const key of this.acknowledged) {
      const task = keys.get(key)
      if (task === undefined) this.fail(`${key} was acknowledged and is gone`)
      const { status } = results.get(task)!
      const right = { good: 'done', poison: 'crash', faulty: 'error' }[kinds.get(task)!]
      if (status !== right && (harmless || status === 'crash'))
        this.fail(`${key} ended as ${status}, not ${right}`)
    }
  }
}

/** Each task that is not finished is in one place, and every lease is a live worker's. */
function checkLeases(world: World, state: SchedulerState): void {
  for (const [task, lease] of [...state.holders, ...state.copies]) {
    const worker = state.workers.get(lease.worker)
    if (worker?.leases.get(lease.id) !== lease)
      world.fail(`task ${task} is leased to ${lease.worker}, who is gone`)
    if (lease.job.queue.has(task)) world.fail(`task ${task} is both leased and queued`)
  }
  for (const [task, { worker }] of state.copies) {
    const holder = state.holders.get(task)
    if (!holder || holder.worker === worker) world.fail(`task ${task} runs twice on ${worker}, or only there`)
  }
  for (const job of state.jobs.values()) {
    const all = world.manager.jobs.get(job.id)!.tasks.length
    const places = job.queue.size + job.leased + job.done + job.failed
    if (places !== all) world.fail(`job ${job.id} has ${all} tasks, but ${places} are accounted for`)
  }
  for (const context of state.contexts.values()) {
    const queued = context.jobs.reduce((sum, { queue }) => sum + queue.size, 0)
    if (queued !== context.queued || state.waiting.has(context) !== queued > 0)
      world.fail(`context ${context.id} has ${queued} tasks that wait, but ${context.queued} are counted`)
    const leased = context.jobs.reduce((sum, job) => sum + job.leased, 0)
    if (leased !== context.leased)
      world.fail(`context ${context.id} has ${leased} tasks in hand, but ${context.leased} are counted`)
  }
}
