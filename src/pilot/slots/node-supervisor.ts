import type { Logger } from 'pino'
import type { ContextMode } from '../../protocol/contexts/context.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../protocol/worker.ts'
import { assignSlots } from '../policy/slot-assignment.ts'
import type { BlobCache } from '../tasks/blob-cache.ts'
import { createFailureLog } from '../tasks/failure-log.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import { canLoad, type ContextEvent, isWarming } from '../contexts/context-state.ts'
import type { DeviceMemory } from '../gpus/device-memory.ts'
import type { LibraryEvent } from '../library/library-event.ts'
import {
  acknowledge,
  addLease,
  closeTask,
  emptyTaskQueue,
  type EndedTask,
  finishTask,
  forgetTasks,
  matching,
  putBack,
  returnQueued,
  takeNext,
  takeReport,
  type TaskQueueView,
  queuedIn,
  unfinishedIn,
} from '../tasks/task-queue.ts'
import { createHeldContexts, type FetchContext, type HeldContexts } from '../contexts/held-contexts.ts'
import { createSlot, type SlotRunner } from './slot.ts'
import type { SlotPlan } from './slot-plan.ts'
import { TaskDemand } from './task-demand.ts'

/** Tasks that an exchange may say of how far they are. */
const MOST_REPORTS = 1000

/** All that works on this node: the contexts, the slots that hold them, and the tasks in hand. */
export interface NodeSupervisor {
  readonly heldContexts: HeldContexts
  /** The tasks in hand. */
  readonly tasks: TaskQueueView
  /** Results for a request, and every lease that still has tasks in hand besides. */
  report(): ReturnType<typeof takeReport>
  /** Takes in what the manager answered, which acknowledges what was last reported. */
  take(answer: Omit<ExchangeResponse, 'drain' | 'shells'>): void
  /** Tasks to ask for, if it must stop in `leftMs`. */
  wants(leaseTargetMs: number, leftMs: number | undefined): ExchangeRequest['want']
  /** Some library has room that no task in hand fills. */
  isStarving(): boolean
  /** A context is on its way up. */
  isWarming(): boolean
  /** Whether any task of what is loaded can still end in that time. */
  hasUse(leftMs: number | undefined): boolean
  /** How far those tasks are that say so. */
  progress(): NonNullable<ExchangeRequest['progress']>
  /** Tasks per second, all slots together. */
  rate(): number
  /** Brings up nothing more, and hands back what cannot end in that time; absent if there is no hurry. */
  windDown(leftMs: number | undefined): void
  /** Hands back everything at once, and ends all libraries. */
  stop(): Promise<void>
}

export interface NodeSupervisorOptions {
  blobs: BlobCache
  partSender: PartSender
  fetch: FetchContext
  slots: readonly SlotPlan[]
  /** Folder for the libraries' temporary files. */
  scratch: string
  setupLimitMs: number
  evicted: AbortSignal
  contextMode: ContextMode
  /** What the node's GPUs are used for. */
  devices: () => Promise<DeviceMemory>
  log: Logger
  /** Called when there is something to tell the manager. */
  onUnreported: () => void
  /** Called when a task has begun to say how far it is. */
  onProgress: () => void
}

export function createNodeSupervisor(options: NodeSupervisorOptions): NodeSupervisor {
  return new Node(options)
}

class Node implements NodeSupervisor {
  readonly tasks = emptyTaskQueue()
  readonly heldContexts: HeldContexts
  readonly #slots: readonly SlotRunner[]
  readonly #demand: TaskDemand
  readonly #logFailures: ReturnType<typeof createFailureLog>
  readonly #oneTask: boolean
  readonly #onUnreported: () => void
  readonly #onProgress: () => void
  readonly #log: Logger
  /** Contexts that the slots are to serve, that are to be brought beside them, and that are to be deleted once none is served. */
  #wanted: readonly string[] = []
  #ahead: readonly string[] = []
  #discarded: readonly string[] = []
  #windingDown = false

  constructor(options: NodeSupervisorOptions) {
    const { fetch, slots: plans, onUnreported, onProgress, contextMode, ...rest } = options
    const { log } = rest
    const oneTask = contextMode !== 'pervasive'
    this.#oneTask = oneTask
    this.#onUnreported = onUnreported
    this.#onProgress = onProgress
    this.#log = log
    this.#logFailures = createFailureLog(log)
    const heldContexts = createHeldContexts({ fetch, onChange: this.#onChange.bind(this), log })
    const isOwed = this.#isOwed.bind(this)
    const onEvent = this.#onLibraryEvent.bind(this)
    const slots = plans.map((plan, index) => createSlot({ ...rest, index, plan, oneTask, isOwed, onEvent }))
    const wanted = () => this.#wanted
    this.heldContexts = heldContexts
    this.#slots = slots
    this.#demand = new TaskDemand({ heldContexts, slots, taskQueue: this.tasks, oneTask, wanted })
  }

  report(): ReturnType<typeof takeReport> {
    return takeReport(this.tasks)
  }

  take(answer: Parameters<NodeSupervisor['take']>[0]): void {
    const { leases, cancel, revoke, warm, ahead, discard, again } = answer
    acknowledge(this.tasks)
    if (cancel.length + revoke.length > 0) {
      forgetTasks(this.tasks, cancel, revoke)
      for (const slot of this.#slots) slot.forget(matching(cancel, revoke), matching(cancel, []))
    }
    // Leases that came too late are not taken up: the next request does not name them, which gives them back.
    if (this.#windingDown) return
    for (const lease of leases) addLease(this.tasks, lease)
    this.#wanted = warm
    this.#ahead = ahead
    const isUnused = (id: string) => !warm.includes(id) && !ahead.includes(id)
    this.#discarded = [...this.#discarded, ...discard].filter(isUnused)
    for (const context of again) this.heldContexts.note(context, { type: 'excused' })
    for (const context of [...warm, ...ahead]) this.heldContexts.want(context)
    this.#rearrange()
  }

  wants(leaseTargetMs: number, leftMs: number | undefined): ExchangeRequest['want'] {
    return this.#windingDown ? [] : this.#demand.wants(leaseTargetMs, leftMs)
  }

  isStarving(): boolean {
    return this.#demand.isStarving()
  }

  isWarming(): boolean {
    return [...this.heldContexts.states()].some(isWarming)
  }

  hasUse(leftMs: number | undefined): boolean {
    return this.#demand.hasUse(leftMs)
  }

  progress(): SlotRunner['progress'] {
    return this.#slots.flatMap((slot) => slot.progress).slice(0, MOST_REPORTS)
  }

  rate(): number {
    return this.#demand.rate()
  }

  windDown(leftMs: number | undefined): void {
    this.#windingDown = true
    this.#wanted = []
    this.#ahead = []
    for (const context of this.tasks.queues.keys()) {
      const running = unfinishedIn(this.tasks, context) - queuedIn(this.tasks, context)
      const keep = Math.max(0, this.#demand.fitting(context, leftMs) - running)
      returnQueued(this.tasks, { context, keep })
    }
    this.#rearrange()
  }

  async stop(): Promise<void> {
    this.#windingDown = true
    returnQueued(this.tasks)
    await Promise.all(this.#slots.map((slot) => slot.stop()))
    returnQueued(this.tasks)
    this.#onUnreported()
  }

  #onChange(context: string, event: ContextEvent): void {
    this.#log.info({ context, ...event }, 'context')
    this.#rearrange()
    this.#onUnreported()
  }

  #onLibraryEvent(slot: number, context: string, event: LibraryEvent): void {
    switch (event.type) {
      case 'measured':
        return
      case 'calls-ended':
        this.#finish(event.tasks)
        this.#demand.observe(context, event)
        // Those that ended before the others were told of by themselves.
        this.#onTasksEnded(context, event.tasks.length)
        return this.#feed(this.#slots[slot]!)
      case 'task-ended':
        this.#finish([event.task])
        return this.#onTasksEnded(context, 1)
      case 'progress-begun':
        return this.#onProgress()
      case 'calls-withdrawn':
        for (const task of event.tasks) closeTask(this.tasks, task)
        return
      case 'process-ended':
        this.#finish(event.tasks)
        return putBack(this.tasks, event.spared)
      default:
        return this.heldContexts.note(context, { ...event, slot })
    }
  }

  #finish(ended: readonly EndedTask[]): void {
    for (const task of ended) finishTask(this.tasks, task)
    this.#logFailures(ended)
  }

  #onTasksEnded(context: string, count: number): void {
    const isTurning = this.#slots.some(({ turn, next }) => turn !== next)
    if (isTurning || unfinishedIn(this.tasks, context) === 0) this.#rearrange()
    if (count > 0) this.#onUnreported()
  }

  /** Tasks of a context wait that no slot is to stay with. */
  #isOwed(context: string): boolean {
    return queuedIn(this.tasks, context) > 0 && this.#slots.every(({ next }) => next !== context)
  }

  /** Gives the library of a slot that is open to calls as many as it should have. */
  #feed({ open }: SlotRunner): void {
    if (!open) return
    const window = this.#demand.window(open.context)
    open.give(takeNext(this.tasks, open.context.id, open.calls, window))
  }

  /** Gives each slot the context it should turn to, and each library its calls. */
  #rearrange(): void {
    const targets = this.#targets()
    for (const [index, slot] of this.#slots.entries()) {
      const target = targets[index]
      for (const context of slot.contexts) {
        if (this.#oneTask ? context !== target : this.#discarded.includes(context)) slot.release(context)
      }
      const mayTurn = target !== undefined && (!this.#windingDown || slot.contexts.includes(target))
      slot.assign(mayTurn ? this.heldContexts.loadable(target) : undefined)
    }
    this.#handBackStranded()
    this.#releaseUnused()
    for (const slot of this.#slots) this.#feed(slot)
  }

  /** The context that each slot should turn to. */
  #targets(): ReturnType<typeof assignSlots> {
    const views = this.#slots.map(({ next, turn, contexts, usedAt }) => ({
      usedAt,
      context: next ?? turn,
      holds: contexts,
    }))
    const isLoadable = (context: string) => canLoad(this.heldContexts.state(context))
    const isHeld = (context: string) => unfinishedIn(this.tasks, context) > 0
    return assignSlots(views, this.#wanted, isLoadable, isHeld)
  }

  /** Tasks of a context that no slot has turned to, and none will. */
  #handBackStranded(): void {
    for (const context of this.tasks.queues.keys()) {
      if (queuedIn(this.tasks, context) === 0 || this.#isServed(context) || this.#isComing(context)) continue
      returnQueued(this.tasks, { context })
      this.#onUnreported()
    }
  }

  #isServed(context: string): boolean {
    return this.#slots.some(({ turn, next }) => turn === context || next === context)
  }

  #isComing(context: string): boolean {
    const isWanted = !this.#windingDown && this.#wanted.includes(context)
    return isWanted && !this.heldContexts.state(context).failure
  }

  #releaseUnused(): void {
    const isHoused = (context: string) => this.#slots.some(({ contexts }) => contexts.includes(context))
    for (const { id } of this.heldContexts.states()) {
      if (this.#wanted.includes(id) || this.#ahead.includes(id) || isHoused(id)) continue
      this.heldContexts.release(id)
      if (!this.#discarded.includes(id)) continue
      this.#discarded = this.#discarded.filter((other) => other !== id)
      this.heldContexts.discard(id)
    }
  }
}
