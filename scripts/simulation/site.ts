import { failed, HEALTHY, type Health, succeeded } from '../../src/core/pilot-scaling.ts'
import { type Sighting, matchPilots } from '../../src/factory/policy/match-pilots.ts'
import type { Job } from '../../src/factory/sites/site.ts'
import type { Core } from './planted-bugs.ts'
import type { Node } from './run-plan.ts'
import { SimWorker, type WorkerSurroundings } from './worker.ts'

interface SimJob extends Job {
  starts: number
  on?: Node
  worker?: SimWorker
}

/** What a site meets: what its workers do, and a manager that may have to start again. */
export interface SiteSurroundings extends WorkerSurroundings {
  restartManager(): void
}

/** A batch system, its nodes, and the loop of the factory that keeps pilots in its queue. */
export class SimSite {
  readonly #world: SiteSurroundings
  readonly #core: Core
  readonly #jobs = new Map<string, SimJob>()
  #views: Sighting[] = []
  #health: Health = HEALTHY
  #lastWork = 0
  #nextJob = 1

  constructor(world: SiteSurroundings, core: Core) {
    this.#world = world
    this.#core = core
    world.time.every(1_000, () => this.#look())
    world.time.every(700, () => this.#startPending())
  }

  /** The factory was restarted with the manager: it knows what is in the queue and in the ledger, no more. */
  restartFactory(): void {
    this.#views = []
    this.#health = HEALTHY
    this.#lastWork = this.#world.manager.now
  }

  /** What is wrong with a worker as a source of pieces. */
  faultOf(worker: string): 'unreachable' | 'corrupt' | undefined {
    const job = this.running.find((job) => job.worker?.id === worker)
    if (!job?.worker?.alive) return 'unreachable'
    return job.on!.corrupt ? 'corrupt' : undefined
  }

  get running(): SimJob[] {
    return [...this.#jobs.values()].filter((job) => job.state === 'running')
  }

  get #live(): SimJob[] {
    return [...this.#jobs.values()].filter((job) => job.state !== 'ended')
  }

  // --- the factory's turn

  #look(): void {
    const { manager, plan } = this.#world
    if (!manager.up) return
    const { now } = manager
    const jobs = this.#live.map(({ jobId, pilot, state }): Job => ({ jobId, pilot, state }))
    const records = manager.listPilots()
    const found = matchPilots({ jobs, complete: true }, records, {
      listedAt: now,
      lateness: 0,
      certain: false,
      before: this.#views,
      removed: new Set(),
    })
    this.#views = found.pilots
    for (const { pilot, jobId } of found.adopted) this.#note(pilot, jobId)
    for (const { registeredAt, worker } of records) {
      if (registeredAt !== undefined && worker?.tasksDone)
        this.#health = succeeded(this.#health, { registeredAt })
    }
    for (const { record } of found.gone) {
      if (record.registeredAt === undefined) {
        const submittedAt = record.submittedAt ?? record.createdAt
        this.#health = failed(this.#health, { submittedAt, reason: 'it died' }, now)
      }
    }
    manager.endPilots(found.gone.map(({ record }) => record.pilot))
    for (const job of found.orphans) this.#remove(job.pilot)
    const demand = manager.demand()
    if (demand.queued + demand.leased > 0) this.#lastWork = now
    const decision = this.#core.decide({
      config: plan.scaling,
      pilots: this.#views,
      demand,
      lastWork: this.#lastWork,
      health: this.#health,
      order: 'work',
      now,
    })
    for (const pilot of decision.remove) if (this.#jobs.get(pilot)?.state === 'pending') this.#remove(pilot)
    for (const pilot of decision.drain) manager.drain(pilot)
    if (decision.submit > 0) this.#submit(decision.submit)
  }

  #note(pilot: string, jobId: string): void {
    const record = this.#world.manager.pilots.get(pilot)!
    record.jobId = jobId
    record.submittedAt ??= this.#world.manager.now
  }

  /** The command may work and the factory die before it can note so. */
  #submit(count: number): void {
    const { manager, time, plan } = this.#world
    const { queued } = manager.demand()
    if (queued === 0) this.#world.fail('submitted with nothing to run')
    const pilots = manager.createPilots(count)
    for (const pilot of pilots) {
      const jobId = String(this.#nextJob++)
      this.#jobs.set(pilot, { jobId, pilot, state: 'pending', starts: 0 })
      const since = manager.now
      const view = { pilot, state: 'submitting', registered: false, idle: false, since } as const
      this.#views.push({ ...view, seenAt: since, misses: 0 })
    }
    if (this.#live.length > plan.scaling.max) {
      this.#world.fail(`${this.#live.length} pilots where ${plan.scaling.max} are allowed`)
    }
    if (time.now < plan.calmAt && plan.everyRestart < Infinity && plan.random.chance(0.1)) {
      return this.#world.restartManager()
    }
    for (const pilot of pilots) this.#note(pilot, this.#jobs.get(pilot)!.jobId)
  }

  // --- the batch system's turn

  #startPending(): void {
    const { plan } = this.#world
    const free = plan.nodes.filter((node) => !this.running.some((job) => job.on === node))
    const job = [...this.#jobs.values()].find(({ state }) => state === 'pending')
    if (!job || free.length === 0 || plan.random.chance(0.3)) return
    this.#start(job, plan.random.pick(free))
  }

  #start(job: SimJob, node: Node): void {
    const { time, plan, manager } = this.#world
    job.state = 'running'
    job.on = node
    const start = job.starts++
    const lasts = plan.random.chance(0.3) ? plan.random.between(30_000, 200_000) : undefined
    const deadline = lasts === undefined ? undefined : time.now + lasts
    const stillOn = () => job.state === 'running' && job.starts === start + 1
    if (lasts !== undefined) time.after(lasts, () => stillOn() && this.#end(job))
    time.after(plan.random.between(100, 2_000), () => {
      if (!stillOn()) return
      if (node.deadly) return this.#end(job)
      const register = () => {
        if (!stillOn()) return
        if (!manager.up) return time.after(1_000, register)
        const theirs = deadline === undefined ? {} : { deadline: deadline + node.clock }
        const info = { node: node.name, slots: 1, ...theirs }
        const id = manager.register(job.pilot, start, info, time.now + node.clock)
        if (id === undefined) return this.#end(job)
        job.worker = new SimWorker(this.#world, id, node, deadline, () => stillOn() && this.#end(job))
      }
      register()
    })
  }

  #end(job: SimJob): void {
    job.worker?.die()
    job.state = 'ended'
  }

  #remove(pilot: string): void {
    const job = this.#jobs.get(pilot)
    if (!job) return
    if (job.state !== 'running') return this.#end(job)
    job.state = 'ending'
    job.worker?.terminate('eviction')
    this.#world.time.after(5_000, () => this.#end(job))
  }

  /** Takes a node back: with a warning or without, and for good or to run the job again. */
  evict(): void {
    const { plan, time, manager } = this.#world
    const { random } = plan
    if (this.running.length === 0) return
    const job = random.pick(this.running)
    const { worker } = job
    const take = () => {
      if (job.state !== 'running' || job.worker !== worker) return
      worker?.die()
      if (worker && manager.up && random.chance(0.7)) manager.disconnected(worker.id)
      if (random.chance(0.5)) this.#end(job)
      else {
        job.state = 'pending'
        delete job.worker
        delete job.on
      }
    }
    if (!random.chance(0.5)) return take()
    worker?.terminate('eviction')
    time.after(random.between(500, 5_000), take)
  }
}
