import type { Logger } from 'pino'
import type { ContextMode } from '../../protocol/contexts/context.ts'
import { callsTogether } from '../../protocol/contexts/library-traits.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../protocol/worker.ts'
import { assignSlots } from '../policy/slot-assignment.ts'
import type { BlobCache } from '../tasks/blob-cache.ts'
import { createFailureLog } from '../tasks/failure-log.ts'
import type { PartSender } from '../uplink/part-sender.ts'
import { canLoad, type ContextEvent, isWarming, isLoadedIn, loadedIn } from '../contexts/context-state.ts'
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
  unfinishedInAll,
} from '../tasks/task-queue.ts'
import { createContextCache, type FetchContext, type ContextCache } from '../contexts/context-cache.ts'
import {
  fitting,
  type RateMeter,
  moreTasks,
  oneTaskPerSlot,
  observeCalls,
  rateOf,
  tasksToStayBusy,
  unmeasured,
  windowSize,
} from '../policy/lease-sizing.ts'
import { createSlot, type SlotRunner } from './slot.ts'
import type { SlotPlan } from './slot-plan.ts'

/** Tasks that an exchange may say of how far they are. */
const MOST_REPORTS = 1000

/** All that works on this node: the contexts, the slots that hold them, and the tasks in hand. */
export interface NodeSupervisor {
  readonly contextCache: ContextCache
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
}

export function createNodeSupervisor(options: NodeSupervisorOptions): NodeSupervisor {
  const { fetch, slots: plans, onUnreported, log, contextMode, ...rest } = options
  const taskQueue = emptyTaskQueue()
  const oneTask = contextMode !== 'pervasive'
  const logFailures = createFailureLog(log)
  const meters = new Map<string, RateMeter>()
  let wanted: readonly string[] = []
  let ahead: readonly string[] = []
  let discarded: readonly string[] = []
  let windingDown = false

  const meterOf = (context: string) => meters.get(context) ?? unmeasured
  const contextCache = createContextCache({ fetch, onChange, log })
  const slots = plans.map((plan, index) =>
    createSlot({ ...rest, index, plan, log, oneTask, isOwed, onEvent: onLibraryEvent }),
  )

  function onChange(context: string, event: ContextEvent) {
    log.info({ context, ...event }, 'context')
    rearrange()
    onUnreported()
  }

  function onLibraryEvent(slot: number, context: string, event: LibraryEvent) {
    switch (event.type) {
      case 'measured':
        return
      case 'calls-ended':
        finish(event.tasks)
        meters.set(context, observeCalls(meterOf(context), event.done, event.busyMs, event.longestMs))
        onTaskChange(context)
        return feed(slots[slot]!)
      case 'task-ended':
        finish([event.task])
        return onTaskChange(context)
      case 'progress-begun':
        // The next exchange may be far away; it is not while there is progress.
        return onTaskChange(context)
      case 'calls-withdrawn':
        for (const task of event.tasks) closeTask(taskQueue, task)
        return
      case 'process-ended':
        finish(event.tasks)
        return putBack(taskQueue, event.spared)
      default:
        return contextCache.note(context, { ...event, slot })
    }
  }

  function finish(ended: readonly EndedTask[]) {
    for (const task of ended) finishTask(taskQueue, task)
    logFailures(ended)
  }

  function onTaskChange(context: string) {
    const isTurning = slots.some(({ turn, next }) => turn !== next)
    if (isTurning || unfinishedIn(taskQueue, context) === 0) rearrange()
    onUnreported()
  }

  /** Tasks of a context wait that no slot is to stay with. */
  function isOwed(context: string): boolean {
    return queuedIn(taskQueue, context) > 0 && slots.every(({ next }) => next !== context)
  }

  /** Gives the library of a slot that is open to calls as many as it should have. */
  function feed({ open }: SlotRunner) {
    if (!open) return
    const { id, spec } = open.context
    const window = oneTask ? 1 : windowSize(meterOf(id), callsTogether(spec))
    open.give(takeNext(taskQueue, id, open.calls, window))
  }

  /** Gives each slot the context it should turn to, and each library its calls. */
  function rearrange() {
    const views = slots.map(({ next, turn, contexts, usedAt }) => ({
      usedAt,
      context: next ?? turn,
      holds: contexts,
    }))
    const isHeld = (context: string) => unfinishedIn(taskQueue, context) > 0
    const targets = assignSlots(views, wanted, (context) => canLoad(contextCache.state(context)), isHeld)
    for (const [index, slot] of slots.entries()) {
      const target = targets[index]
      for (const context of slot.contexts) {
        if (oneTask ? context !== target : discarded.includes(context)) slot.release(context)
      }
      const mayTurn = target !== undefined && (!windingDown || slot.contexts.includes(target))
      slot.assign(mayTurn ? contextCache.loadable(target) : undefined)
    }
    handBackStranded()
    releaseUnused()
    for (const slot of slots) feed(slot)
  }

  const isHoused = (context: string) => slots.some(({ contexts }) => contexts.includes(context))
  const isServed = (context: string) => slots.some(({ turn, next }) => turn === context || next === context)
  const isComing = (context: string) =>
    !windingDown && wanted.includes(context) && !contextCache.state(context).failure

  /** Tasks of a context that no slot has turned to, and none will. */
  function handBackStranded() {
    for (const context of taskQueue.queues.keys()) {
      if (queuedIn(taskQueue, context) === 0 || isServed(context) || isComing(context)) continue
      returnQueued(taskQueue, { context })
      onUnreported()
    }
  }

  function releaseUnused() {
    for (const { id } of contextCache.states()) {
      if (wanted.includes(id) || ahead.includes(id) || isHoused(id)) continue
      contextCache.release(id)
      if (!discarded.includes(id)) continue
      discarded = discarded.filter((other) => other !== id)
      contextCache.discard(id)
    }
  }

  /** Slots that have turned to a context, and hold it loaded. */
  const servingOf = (context: string) =>
    slots.filter(({ next }, i) => next === context && isLoadedIn(contextCache.state(context), i)).length

  /** Contexts that are wanted, and loaded where they are to run, with what is known of them. */
  const ready = () =>
    wanted
      .map((context) => ({ context, slots: servingOf(context) }))
      .filter(({ slots }) => slots > 0)
      .map(({ context, slots }) => ({
        context,
        slots,
        batch: oneTask ? 1 : callsTogether(contextCache.loadable(context)!.spec.spec),
        meter: meterOf(context),
        inHand: unfinishedIn(taskQueue, context),
      }))

  return {
    contextCache,
    tasks: taskQueue,
    report: () => takeReport(taskQueue),
    take({ leases, cancel, revoke, warm, ahead: prestarted, discard, again }) {
      acknowledge(taskQueue)
      if (cancel.length + revoke.length > 0) {
        forgetTasks(taskQueue, cancel, revoke)
        for (const slot of slots) slot.forget(matching(cancel, revoke), matching(cancel, []))
      }
      // Leases that came too late are not taken up: the next request does not name them, which gives them back.
      if (windingDown) return
      for (const lease of leases) addLease(taskQueue, lease)
      wanted = warm
      ahead = prestarted
      discarded = [...discarded, ...discard].filter((id) => !warm.includes(id) && !prestarted.includes(id))
      for (const context of again) contextCache.note(context, { type: 'excused' })
      for (const context of [...warm, ...prestarted]) contextCache.want(context)
      rearrange()
    },
    wants: (leaseTargetMs, leftMs) =>
      windingDown
        ? []
        : ready().map(({ context, ...known }) => ({
            context,
            tasks: oneTask ? oneTaskPerSlot(known) : moreTasks({ ...known, leaseTargetMs, leftMs }),
            least: oneTask ? known.slots : tasksToStayBusy(known),
          })),
    isStarving: () =>
      unfinishedInAll(taskQueue) === 0 || ready().some(({ inHand, slots, batch }) => inHand <= slots * batch),
    isWarming: () => [...contextCache.states()].some(isWarming),
    hasUse: (leftMs) => {
      const loaded = ready()
      return loaded.length === 0 || loaded.some(({ meter, slots }) => fitting(meter, slots, leftMs) >= 1)
    },
    progress: () => slots.flatMap((slot) => slot.progress).slice(0, MOST_REPORTS),
    rate: () => ready().reduce((sum, { meter, slots }) => sum + slots * rateOf(meter), 0),
    windDown(leftMs) {
      windingDown = true
      wanted = []
      ahead = []
      for (const context of taskQueue.queues.keys()) {
        const running = unfinishedIn(taskQueue, context) - queuedIn(taskQueue, context)
        const fits = fitting(meterOf(context), loadedIn(contextCache.state(context)), leftMs)
        returnQueued(taskQueue, { context, keep: Math.max(0, fits - running) })
      }
      rearrange()
    },
    async stop() {
      windingDown = true
      returnQueued(taskQueue)
      await Promise.all(slots.map((slot) => slot.stop()))
      returnQueued(taskQueue)
      onUnreported()
    },
  }
}
