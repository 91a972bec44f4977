import type { ContextSpec } from '../../protocol/contexts/context.ts'
import { callsTogether } from '../../protocol/contexts/library-traits.ts'
import type { ExchangeRequest } from '../../protocol/worker.ts'
import type { HeldContexts } from '../contexts/held-contexts.ts'
import { isLoadedIn, loadedIn } from '../contexts/context-state.ts'
import type { LibraryEvent } from '../library/library-event.ts'
import {
  fitting,
  moreTasks,
  observeCalls,
  oneTaskPerSlot,
  type RateMeter,
  rateOf,
  tasksToStayBusy,
  unmeasured,
  windowSize,
} from '../policy/lease-sizing.ts'
import { type TaskQueueView, unfinishedIn, unfinishedInAll } from '../tasks/task-queue.ts'
import type { SlotRunner } from './slot.ts'

export interface TaskDemandOptions {
  heldContexts: Pick<HeldContexts, 'state' | 'loadable'>
  slots: readonly Pick<SlotRunner, 'next'>[]
  taskQueue: TaskQueueView
  /** Each task has a library of its own. */
  oneTask: boolean
  /** Contexts that the slots are to serve. */
  wanted: () => readonly string[]
}

/** What a context that is ready to run tasks can take. */
interface Ready {
  context: string
  /** Slots that serve it. */
  slots: number
  /** Calls that its library runs together. */
  batch: number
  meter: RateMeter
  /** Its tasks that have not ended. */
  inHand: number
}

/** How fast this node runs the tasks of its contexts, and how many more it could do with. */
export class TaskDemand {
  readonly #options: TaskDemandOptions
  readonly #meters = new Map<string, RateMeter>()

  constructor(options: TaskDemandOptions) {
    this.#options = options
  }

  #meterOf(context: string): RateMeter {
    return this.#meters.get(context) ?? unmeasured
  }

  observe(
    context: string,
    { done, busyMs, longestMs }: Extract<LibraryEvent, { type: 'calls-ended' }>,
  ): void {
    this.#meters.set(context, observeCalls(this.#meterOf(context), done, busyMs, longestMs))
  }

  /** Calls that the library of a context should have at once. */
  window({ id, spec }: ContextSpec): number {
    return this.#options.oneTask ? 1 : windowSize(this.#meterOf(id), callsTogether(spec))
  }

  /** Tasks of a context that can end in that time. */
  fitting(context: string, leftMs: number | undefined): number {
    const slots = loadedIn(this.#options.heldContexts.state(context))
    return fitting(this.#meterOf(context), slots, leftMs)
  }

  /** Contexts that are wanted, and loaded where they are to run, with what is known of them. */
  #ready(): Ready[] {
    const { heldContexts, taskQueue, oneTask, wanted } = this.#options
    return wanted()
      .map((context) => ({ context, slots: this.#servingOf(context) }))
      .filter(({ slots }) => slots > 0)
      .map(({ context, slots }) => ({
        context,
        slots,
        batch: oneTask ? 1 : callsTogether(heldContexts.loadable(context)!.spec.spec),
        meter: this.#meterOf(context),
        inHand: unfinishedIn(taskQueue, context),
      }))
  }

  /** How many slots have turned to a context, and hold it loaded. */
  #servingOf(context: string): number {
    const { heldContexts, slots } = this.#options
    return slots.filter(({ next }, i) => next === context && isLoadedIn(heldContexts.state(context), i))
      .length
  }

  /** Tasks to ask for, if the node must stop in `leftMs`. */
  wants(leaseTargetMs: number, leftMs: number | undefined): NonNullable<ExchangeRequest['want']> {
    const { oneTask } = this.#options
    return this.#ready().map(({ context, ...known }) => ({
      context,
      tasks: oneTask ? oneTaskPerSlot(known) : moreTasks({ ...known, leaseTargetMs, leftMs }),
      least: oneTask ? known.slots : tasksToStayBusy(known),
    }))
  }

  /** Some library has room that no task in hand fills. */
  isStarving(): boolean {
    return (
      unfinishedInAll(this.#options.taskQueue) === 0 ||
      this.#ready().some(({ inHand, slots, batch }) => inHand <= slots * batch)
    )
  }

  /** Whether any task of what is loaded can still end in that time. */
  hasUse(leftMs: number | undefined): boolean {
    const loaded = this.#ready()
    return loaded.length === 0 || loaded.some(({ meter, slots }) => fitting(meter, slots, leftMs) >= 1)
  }

  /** Tasks per second, all slots together. */
  rate(): number {
    return this.#ready().reduce((sum, { meter, slots }) => sum + slots * rateOf(meter), 0)
  }
}
