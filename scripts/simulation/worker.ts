import type { Reply } from '../../src/core/scheduler/state.ts'
import {
  afterSending,
  type ExchangeMoment,
  nextExchange,
  NO_REQUEST,
} from '../../src/pilot/policy/exchange-pacing.ts'
import {
  moreTasks,
  observeCalls,
  rateOf,
  tasksToStayBusy,
  unmeasured,
} from '../../src/pilot/policy/lease-sizing.ts'
import { managerDefaults } from '../../src/core/manager-defaults.ts'
import type { Outcome, TaskResult } from '../../src/protocol/task.ts'
import type { Fault } from '../../src/protocol/piece-sources.ts'
import type { ExchangeRequest } from '../../src/protocol/worker.ts'
import type { Node } from './run-plan.ts'
import type { SimManager } from './manager.ts'
import type { SimNetwork } from './network.ts'
import type { SimRun } from './sim-run.ts'

const REQUEST_TIMEOUT = 5_000
const HEARTBEAT = 2_000
/** It gives up after this long without an answer, and leaves after this long without work. */
const PATIENCE = 600_000
const IDLE = 60_000
/** It has one slot, and runs one task at a time. */
const SLOT = { slots: 1, batch: 1 }

/** A task in hand. */
interface Held {
  lease: number
  context: string
}

/** A context's library in the worker's one slot. */
interface Library {
  ready: boolean
  attempts: number
  setupFailed: boolean
  usedAt: number
}

/** What a worker meets besides its node. */
export interface WorkerSurroundings extends SimRun {
  readonly network: SimNetwork
  readonly manager: SimManager
  /** How a peer fails those who fetch from it, if it does. */
  faultOf(peer: string): Fault['reason'] | undefined
}

/** A worker as the manager sees it: it obeys the protocol of src/protocol/worker.ts. */
export class SimWorker {
  readonly #world: WorkerSurroundings
  readonly #node: Node
  readonly #deadline: number | undefined
  readonly id: string
  /** Called when it has left or given up. */
  readonly #onExit: () => void
  alive = true
  #pausedUntil = 0
  #seq = 0
  #open: { request: ExchangeRequest; attempt: number } | undefined
  #taskQueue = new Map<number, Held>()
  #running: number | undefined
  /** What it has measured of the tasks of each context. */
  readonly #meters = new Map<string, typeof unmeasured>()
  #results: TaskResult[] = []
  /** When it sent its last request, and how close it came to others; see the pacing of a worker. */
  #last = NO_REQUEST
  /** Since when it has something to say that it has not said yet. */
  #unreportedSince: number | undefined
  /** How often it has looked whether to exchange: what an earlier look has planned is void. */
  #looks = 0
  /** The bundle of all contexts is on disk. */
  #held = false
  #fetching = false
  /** Sources that failed, not told yet. */
  #faults: Pick<Fault, 'source' | 'reason'>[] = []
  readonly #libraries = new Map<string, Library>()
  /** The context it is to work for. */
  #wanted: string | undefined
  #leaving: ExchangeRequest['leaving']
  #heardAt: number
  #busyAt: number

  constructor(
    world: WorkerSurroundings,
    id: string,
    node: Node,
    deadline: number | undefined,
    onExit: () => void,
  ) {
    this.#world = world
    this.id = id
    this.#node = node
    this.#deadline = deadline
    this.#onExit = onExit
    this.#heardAt = world.time.now
    this.#busyAt = world.time.now
    this.#exchangeInTime()
    world.time.every(HEARTBEAT, () => {
      if (!this.alive) return false
      this.#look()
      return true
    })
  }

  get #now(): number {
    return this.#world.time.now
  }

  /** SIGKILL, power. */
  die(): void {
    this.alive = false
  }

  /** SIGSTOP until then. */
  pause(ms: number): void {
    this.#pausedUntil = this.#now + ms
  }

  /** SIGTERM: gives back what has not begun and leaves. */
  terminate(reason: NonNullable<ExchangeRequest['leaving']>): void {
    if (this.#leaving) return
    this.#leaving = reason
    for (const task of this.#taskQueue.keys())
      if (task !== this.#running) this.#end(task, { status: 'returned' })
    this.#tell()
  }

  #look(): void {
    if (this.#now - this.#heardAt > PATIENCE) return this.#exit()
    if (this.#taskQueue.size > 0 || this.#results.length > 0) this.#busyAt = this.#now
    if (this.#now - this.#busyAt > IDLE) this.terminate('idle')
    if (this.#deadline !== undefined && this.#now > this.#deadline - 10_000) this.terminate('walltime')
    this.#exchangeInTime()
  }

  #exit(): void {
    if (!this.alive) return
    this.alive = false
    this.#onExit()
  }

  // --- the exchange: one request at a time, sent again with the same number until it is answered

  /** Exchanges when a worker would; to be called whenever something has changed that bears on it. */
  #exchangeInTime(): void {
    if (!this.alive) return
    const look = ++this.#looks
    // A request that is held open is given up for news only, and no other.
    if (this.#open && (this.#open.request.waitMs === 0 || this.#unreportedSince === undefined)) return
    const { at, waitMs } = nextExchange(this.#moment(), managerDefaults.workerTimeoutMs)
    if (at <= this.#now) return this.#exchange(waitMs)
    this.#world.time.after(at - this.#now, () =>
      this.#whenAwake(() => {
        if (this.#looks === look) this.#exchangeInTime()
      }),
    )
  }

  #moment(): ExchangeMoment {
    const wanted = this.#wanted
    const isReady = this.#isReady(wanted)
    const isShort = this.#taskQueue.size === 0 || (isReady && this.#inHand(wanted!) <= SLOT.batch)
    return {
      now: this.#now,
      last: this.#last,
      unreportedSince: this.#unreportedSince,
      rate: isReady ? rateOf(this.#meterOf(wanted!)) : 0,
      starving: this.#leaving === undefined && isShort,
      warming: this.#fetching,
    }
  }

  /** From now on there is something to say. */
  #tell(): void {
    this.#unreportedSince ??= this.#now
    this.#exchangeInTime()
  }

  #exchange(waitMs: number): void {
    this.#last = afterSending(this.#last, this.#now, { waitMs, results: this.#results.length })
    this.#unreportedSince = undefined
    const leases = new Set([...this.#taskQueue.values()].map(({ lease }) => lease))
    const wanted = this.#wanted
    this.#open = {
      attempt: 0,
      request: {
        seq: this.#seq++,
        results: [...this.#results],
        leases: [...leases],
        contexts: this.#report(),
        want: this.#isReady(wanted) && !this.#leaving ? [this.#wantOf(wanted!)] : [],
        rate: this.#isReady(wanted) ? rateOf(this.#meterOf(wanted!)) : 0,
        waitMs,
        ...(this.#leaving ? { leaving: this.#leaving } : {}),
      },
    }
    this.#transmit()
  }

  #meterOf(context: string) {
    return this.#meters.get(context) ?? unmeasured
  }

  /** Tasks of a context in hand. */
  #inHand(context: string): number {
    let tasks = 0
    for (const held of this.#taskQueue.values()) if (held.context === context) tasks++
    return tasks
  }

  /** What it asks for, as the supervisor of a node with one slot does. */
  #wantOf(context: string) {
    const { leaseTargetMs } = managerDefaults
    const leftMs = this.#deadline === undefined ? undefined : Math.max(0, this.#deadline - 10_000 - this.#now)
    const demand = {
      ...SLOT,
      meter: this.#meterOf(context),
      inHand: this.#inHand(context),
      leaseTargetMs,
      leftMs,
    }
    return { context, tasks: moreTasks(demand), least: tasksToStayBusy(SLOT) }
  }

  #isReady(context: string | undefined): boolean {
    return this.#libraries.get(context ?? '')?.ready ?? false
  }

  #report(): ExchangeRequest['contexts'] {
    const known = [...this.#libraries]
    const [wanted] = this.#wanted === undefined || this.#libraries.has(this.#wanted) ? [] : [this.#wanted]
    const error = { name: 'Error', message: 'out of memory' }
    const doing = this.#fetching ? ({ doing: 'fetching' } as const) : {}
    const level = this.#held ? 'disk' : 'absent'
    return [
      ...known.map(([context, { ready, attempts, setupFailed }]) =>
        ready
          ? { context, level: 'memory' as const, attempts }
          : { context, level: 'disk' as const, attempts, ...(setupFailed && { error }) },
      ),
      ...(wanted === undefined ? [] : [{ context: wanted, level, attempts: 0, ...doing } as const]),
    ]
  }

  #transmit(): void {
    const { network, manager, time } = this.#world
    const open = this.#open!
    const attempt = ++open.attempt
    network.send(this.id, () => {
      if (!manager.up) return
      manager.exchange(this.id, open.request, (answer) =>
        network.send(this.id, () => this.#whenAwake(() => this.#receive(open, answer))),
      )
    })
    time.after(open.request.waitMs + REQUEST_TIMEOUT, () => {
      if (this.alive && this.#open === open && open.attempt === attempt) this.#transmit()
    })
  }

  #whenAwake(run: () => void): void {
    if (!this.alive) return
    if (this.#now < this.#pausedUntil)
      this.#world.time.after(this.#pausedUntil - this.#now, () => this.#whenAwake(run))
    else run()
  }

  #receive(open: { request: ExchangeRequest }, answer: Reply | { status: number }): void {
    if (this.#open !== open) return
    this.#heardAt = this.#now
    if ('status' in answer) {
      if (answer.status !== 409) this.#exit()
      return
    }
    this.#open = undefined
    const sent = new Set(open.request.results)
    this.#results = this.#results.filter((result) => !sent.has(result))
    for (const task of answer.cancel) if (task !== this.#running) this.#taskQueue.delete(task)
    for (const [task, { lease }] of this.#taskQueue) {
      if (answer.revoke.includes(lease) && task !== this.#running) this.#taskQueue.delete(task)
    }
    for (const { lease, context, tasks } of answer.leases)
      for (const { task } of tasks) this.#take(task, { lease, context })
    if (answer.drain) this.terminate('drain')
    this.#wanted = answer.warm[0]
    this.#bringUp()
    this.#run()
    if (open.request.leaving && this.#taskQueue.size === 0 && this.#results.length === 0) return this.#exit()
    this.#exchangeInTime()
  }

  #take(task: number, held: Held): void {
    this.#taskQueue.set(task, held)
    if (this.#leaving) this.#end(task, { status: 'returned' })
  }

  // --- the contexts

  #bringUp(): void {
    if (this.#wanted === undefined) return
    if (this.#held) return this.#load(this.#wanted)
    if (this.#fetching || this.#leaving) return
    this.#fetching = true
    this.#askForSources()
  }

  /** Asks until it is answered. */
  #askForSources(): void {
    const { network, manager, time } = this.#world
    let answered = false
    network.send(this.id, () => {
      if (!manager.up || !manager.sessions.has(this.id)) return
      const told = [...this.#faults]
      const named = manager.sources(this.id, told)
      network.send(this.id, () =>
        this.#whenAwake(() => {
          if (answered) return
          answered = true
          this.#faults = this.#faults.filter((fault) => !told.includes(fault))
          this.#fetchFrom(named)
        }),
      )
    })
    time.after(REQUEST_TIMEOUT, () => {
      if (this.alive && !answered) {
        answered = true
        this.#askForSources()
      }
    })
  }

  /** Fetches from peers, one after the other until one serves it well, or else from the manager. */
  #fetchFrom([peer, ...others]: string[]): void {
    const { plan, time } = this.#world
    time.after(plan.random.between(20, 2_000), () =>
      this.#whenAwake(() => {
        const reason = peer === undefined ? undefined : this.#world.faultOf(peer)
        if (peer === undefined || reason === undefined) return this.#keep()
        this.#faults.push({ source: peer, reason })
        if (plan.random.chance(0.5)) this.#askForSources()
        else this.#fetchFrom(others)
      }),
    )
  }

  #keep(): void {
    this.#held = true
    this.#fetching = false
    this.#bringUp()
    this.#tell()
  }

  /** Starts a library, once those in its way that have nothing to do have gone, the least recently used first. */
  #load(context: string): void {
    const { plan, time } = this.#world
    const library = this.#libraries.get(context) ?? {
      ready: false,
      attempts: 0,
      setupFailed: true,
      usedAt: 0,
    }
    if (library.ready || this.#leaving || !library.setupFailed) return
    const others = [...this.#libraries].filter(
      ([other, { setupFailed }]) => other !== context && !setupFailed,
    )
    const idle = others.filter(
      ([other]) => ![...this.#taskQueue.values()].some((held) => held.context === other),
    )
    idle.sort(([, a], [, b]) => a.usedAt - b.usedAt)
    const excess = others.length + 1 - plan.memory
    if (excess > idle.length) return
    for (const [other] of idle.slice(0, Math.max(0, excess))) this.#libraries.delete(other)
    Object.assign(library, { attempts: library.attempts + 1, setupFailed: false, usedAt: this.#now })
    this.#libraries.set(context, library)
    time.after(plan.random.between(50, 3_000), () =>
      this.#whenAwake(() => {
        if (this.#libraries.get(context) !== library) return
        // Somewhere it must work: the first node's setups do.
        library.setupFailed =
          this.#node.name !== 'n0' && time.now < plan.calmAt && plan.random.chance(plan.setupFailure)
        library.ready = !library.setupFailed
        this.#run()
        this.#tell()
      }),
    )
  }

  /** Ends the tasks of one context before it turns to the wanted one. */
  #run(): void {
    if (this.#running !== undefined) return
    for (const [task, { context }] of this.#taskQueue)
      if (!this.#isReady(context) && context !== this.#wanted) this.#end(task, { status: 'returned' })
    const ready = [...this.#taskQueue].filter(([, { context }]) => this.#isReady(context))
    const [next] = ready.find(([, { context }]) => context !== this.#wanted) ?? ready[0] ?? []
    if (next === undefined) return
    this.#running = next
    this.#libraries.get(this.#taskQueue.get(next)!.context)!.usedAt = this.#now
    const ms = this.#node.blackHole
      ? 5
      : Math.ceil(this.#node.taskMs * (0.5 + this.#world.plan.random.next()))
    this.#world.time.after(ms, () =>
      this.#whenAwake(() => {
        this.#running = undefined
        const held = this.#taskQueue.get(next)
        if (held) {
          const outcome = this.#outcome(next)
          const done = outcome.status === 'done' ? 1 : 0
          this.#meters.set(held.context, observeCalls(this.#meterOf(held.context), done, ms, ms))
          this.#end(next, outcome)
        }
        this.#bringUp()
        this.#run()
        this.#exchangeInTime()
      }),
    )
  }

  #outcome(task: number): Outcome {
    const kind = this.#world.manager.kinds.get(task)!
    const error = { name: 'Error', message: kind }
    if (kind === 'poison') return { status: 'crash', error }
    if (kind === 'faulty' || this.#node.blackHole) return { status: 'error', error }
    return { status: 'done', value: task }
  }

  #end(task: number, outcome: Outcome): void {
    const { lease } = this.#taskQueue.get(task)!
    this.#taskQueue.delete(task)
    this.#results.push({ task, lease, outcome, ms: 1 })
    this.#unreportedSince ??= this.#now
  }
}
