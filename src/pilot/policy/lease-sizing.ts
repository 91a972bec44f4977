import { limits } from '../../protocol/primitives.ts'

/*
 * How much work to ask for. A worker keeps as much in hand as it finishes in the manager's target time at its own measured
 * rate, so that fast and slow ones end together and no batch size has to be picked.
 */

/** What is known of how fast a slot ends a context's tasks: sums that fade with busy time, so that they follow the work. */
export interface RateMeter {
  /** Tasks done, faded. */
  readonly tasks: number
  /** Time in which a slot ran at least one, milliseconds, faded likewise. */
  readonly busyMs: number
  /** Tasks done in all. */
  readonly ended: number
  /** How long a task takes from its beginning to its end when it takes long and is done, milliseconds. */
  readonly taskMs: number
}

export const unmeasured: RateMeter = { tasks: 0, busyMs: 0, ended: 0, taskMs: 0 }

/** Busy time after which a measurement counts half, milliseconds. */
const HALF_LIFE_MS = 5_000

/** How much of a former slow task is remembered at each newer, faster one. */
const SLOW_MEMORY = 0.98

/**
 * Takes in tasks that ended together on a slot. Those that failed say nothing of how fast tasks are done, whether they failed at
 * once or took their time: neither they nor the time since the last such moment count, if none was done.
 *
 * @param tasks how many of them were done
 * @param busyMs time since the last such moment on that slot in which it ran any
 * @param taskMs the longest any that were done took from beginning to end
 */
export function observeCalls(meter: RateMeter, tasks: number, busyMs: number, taskMs: number): RateMeter {
  if (tasks === 0) return meter
  const faded = 2 ** (-busyMs / HALF_LIFE_MS)
  return {
    tasks: meter.tasks * faded + tasks,
    busyMs: meter.busyMs * faded + busyMs,
    ended: meter.ended + tasks,
    taskMs: Math.max(taskMs, meter.taskMs * SLOW_MEMORY),
  }
}

/** Below this there is no telling a rate from the clock's grain, milliseconds. */
const SHORTEST_MEASURE_MS = 1

/** Tasks done per second and slot while busy; 0 if not known yet. */
export function rateOf({ tasks, busyMs }: RateMeter): number {
  return tasks === 0 ? 0 : (tasks / Math.max(busyMs, SHORTEST_MEASURE_MS)) * 1000
}

/**
 * Tasks a slot is given before anything is known of them, or as many as its library runs at once: long ones would have the
 * rest of it idle until the first ends, and what waits behind them would be kept from others.
 */
const FIRST_TASKS = 2

/** Each task that is done earns this many: the work in hand multiplies with each answer until the rate bounds it. */
const GROWTH = 4

/** Part of the time before the end that may be filled: rates vary. */
const FILL = 0.8

/** A task must fit this many times before the end to be begun. */
const TASK_MARGIN = 1.5

export interface Demand {
  meter: RateMeter
  /** Tasks of the context in hand already. */
  inHand: number
  /** Slots that hold it loaded. */
  slots: number
  /** Calls its library runs together. */
  batch: number
  /** Work to keep in hand, milliseconds at the measured rate. */
  leaseTargetMs: number
  /** Time until the worker must stop, milliseconds; absent if it need not. */
  leftMs?: number | undefined
}

/** How many more tasks of one context to ask for. */
export function moreTasks(demand: Demand): number {
  const { meter, inHand, slots, batch, leaseTargetMs, leftMs } = demand
  if (slots === 0) return 0
  const earned = slots * Math.max(FIRST_TASKS, batch) + GROWTH * meter.ended
  const target = Math.min(
    earned,
    Math.max(tasksToStayBusy(demand), (slots * rateOf(meter) * leaseTargetMs) / 1000),
  )
  const more = Math.floor(Math.min(target, fitting(meter, slots, leftMs))) - inHand
  return Math.max(0, Math.min(more, limits.batch))
}

/** One batch running and the next one ready, however slow they are: a library that starves in between never gets fast. */
export function tasksToStayBusy({ slots, batch }: Pick<Demand, 'slots' | 'batch'>): number {
  return Math.min(2 * slots * batch, limits.batch)
}

/** The same as {@link moreTasks} where each task has a library of its own: one for each that is ready and has none. */
export function oneTaskPerSlot({ slots, inHand }: Pick<Demand, 'slots' | 'inHand'>): number {
  return Math.max(0, slots - inHand)
}

/** How many tasks, those in hand included, can end in the time left. */
export function fitting(meter: RateMeter, slots: number, leftMs: number | undefined): number {
  if (leftMs === undefined) return Infinity
  if (leftMs <= meter.taskMs * TASK_MARGIN) return 0
  // Nothing is known before the first task ends; the few that are given out then are the measurement.
  return meter.ended === 0 ? Infinity : (slots * rateOf(meter) * leftMs * FILL) / 1000
}

/** Work a library has queued beyond its batches, milliseconds at its rate: more than a turn of the event loop takes. */
const WINDOW_MS = 50
const WINDOW_MAX = 4_096

/** How many calls to have inside one library, so that it never waits for the next and can batch as it likes. */
export function windowSize(meter: RateMeter, batch: number): number {
  return Math.max(2 * batch, Math.min(WINDOW_MAX, Math.ceil((rateOf(meter) * WINDOW_MS) / 1000)))
}
