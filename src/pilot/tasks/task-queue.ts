import type { BlobRef } from '../../protocol/blob.ts'
import { limits } from '../../protocol/primitives.ts'
import type { Lease, Outcome, TaskResult } from '../../protocol/task.ts'
import { fitOutcome } from './outcome-size-limit.ts'

/*
 * The tasks a worker has in hand, from the answer that leased them to the one that acknowledges their results.
 * Plain functions over plain state; which of them run at the moment is known to the libraries (see in-flight-calls.ts).
 * Only the node supervisor changes a queue: all others have a view of it.
 */

/** One leased task. */
export interface LeasedTask {
  readonly task: number
  readonly lease: number
  readonly job?: number | undefined
  /** The trace of its job. */
  readonly traceparent?: string | undefined
  readonly context: string
  readonly function: string
  readonly input: Lease['tasks'][number]['input']
  /** Blobs that the input refers to. */
  readonly blobs?: readonly BlobRef[] | undefined
  /** Nothing else may be in its library while it runs. */
  readonly alone: boolean
  readonly timeLimitMs: number | undefined
}

/** Tasks of one context that no library has yet, in order. */
interface Queue {
  together: LeasedTask[]
  alone: LeasedTask[]
}

/** A task queue, to be looked at. */
export interface TaskQueueView {
  readonly queues: ReadonlyMap<string, Readonly<Record<keyof Queue, readonly LeasedTask[]>>>
  /** Leases that are still ours, and how many of their tasks have no outcome. */
  readonly open: ReadonlyMap<number, number>
  /** Tasks without an outcome, by context: queued and running. */
  readonly unfinished: ReadonlyMap<string, number>
  /** Outcomes that the manager has not acknowledged, oldest first. */
  readonly results: readonly { readonly result: TaskResult; readonly bytes: number }[]
  /** How many of them are in the request under way. */
  readonly reported: number
}

export interface TaskQueue extends TaskQueueView {
  queues: Map<string, Queue>
  open: Map<number, number>
  unfinished: Map<string, number>
  results: { result: TaskResult; bytes: number }[]
  reported: number
}

/** How a task ended; beside its outcome what it printed, and the blobs of its value. */
export interface EndedTask extends Pick<TaskResult, 'log' | 'blobs'> {
  readonly task: LeasedTask
  readonly outcome: Outcome
  /** What it took, milliseconds. */
  readonly ms: number
}

export function emptyTaskQueue(): TaskQueue {
  return { queues: new Map(), open: new Map(), unfinished: new Map(), results: [], reported: 0 }
}

export function addLease(taskQueue: TaskQueue, lease: Lease): void {
  const queue = queueOf(taskQueue, lease.context)
  for (const { task, input, blobs, alone = false } of lease.tasks) {
    const { lease: id, tasks: _, function: name, ...shared } = lease
    const held = { timeLimitMs: undefined, ...shared, task, lease: id, function: name, input, blobs, alone }
    ;(alone ? queue.alone : queue.together).push(held)
  }
  taskQueue.open.set(lease.lease, lease.tasks.length)
  count(taskQueue, lease.context, lease.tasks.length)
}

/** A window's part that must be free before it is filled up again: calls travel in groups. */
const REFILL = 1 / 4

/**
 * Takes the next tasks of a context for a library that has `calls` and should have `window`: one that must run alone once
 * the library is empty, or as many others as there is room for.
 */
export function takeNext(taskQueue: TaskQueue, context: string, calls: number, window: number): LeasedTask[] {
  const queue = taskQueue.queues.get(context)
  if (!queue) return []
  if (queue.alone.length > 0) return calls === 0 ? queue.alone.splice(0, 1) : []
  const room = window - calls
  return room < window * REFILL ? [] : queue.together.splice(0, room)
}

export function queuedIn(taskQueue: TaskQueueView, context: string): number {
  const queue = taskQueue.queues.get(context)
  return queue ? queue.together.length + queue.alone.length : 0
}

export function unfinishedIn(taskQueue: TaskQueueView, context: string): number {
  return taskQueue.unfinished.get(context) ?? 0
}

export function unfinishedInAll(taskQueue: TaskQueueView): number {
  let sum = 0
  for (const tasks of taskQueue.unfinished.values()) sum += tasks
  return sum
}

/** Puts tasks that did not run back to the front, in their order. Those of leases that are no longer ours are forgotten. */
export function putBack(taskQueue: TaskQueue, tasks: LeasedTask[]): void {
  for (const task of tasks.toReversed()) {
    const queue = queueOf(taskQueue, task.context)
    if (!taskQueue.open.has(task.lease)) count(taskQueue, task.context, -1)
    else (task.alone ? queue.alone : queue.together).unshift(task)
  }
}

/** Notes how a task ended. A value that the manager would not take becomes an error of the task. */
export function finishTask(taskQueue: TaskQueue, { task, outcome, ms, ...more }: EndedTask): void {
  const fit = fitOutcome(outcome)
  taskQueue.results.push({
    result: { task: task.task, lease: task.lease, outcome: fit.outcome, ms, ...more },
    bytes: fit.bytes + Buffer.byteLength(JSON.stringify(more)),
  })
  closeTask(taskQueue, task)
}

/** Hands back what is queued of one context, or of all, but for the first `keep` tasks that need not be alone. */
export function returnQueued(
  taskQueue: TaskQueue,
  { context, keep = 0 }: { context?: string; keep?: number } = {},
): void {
  for (const [id, queue] of taskQueue.queues) {
    if (context !== undefined && context !== id) continue
    const spared = queue.together.slice(0, keep)
    const returned = [...queue.together.slice(keep), ...queue.alone]
    taskQueue.queues.set(id, { together: spared, alone: [] })
    for (const task of returned) finishTask(taskQueue, { task, outcome: { status: 'returned' }, ms: 0 })
  }
}

/** Forgets queued tasks that are no longer this worker's; those that run are the slots' to forget. */
export function forgetTasks(taskQueue: TaskQueue, tasks: readonly number[], leases: readonly number[]): void {
  const isGone = matching(tasks, leases)
  for (const queue of taskQueue.queues.values()) {
    for (const name of ['together', 'alone'] as const) {
      queue[name] = queue[name].filter((task) => {
        const gone = isGone(task)
        if (gone) closeTask(taskQueue, task)
        return !gone
      })
    }
  }
  for (const lease of leases) taskQueue.open.delete(lease)
}

/** Ends a task without an outcome. */
export function closeTask(taskQueue: TaskQueue, task: LeasedTask): void {
  count(taskQueue, task.context, -1)
  const open = taskQueue.open.get(task.lease)
  if (open === undefined) return
  if (open > 1) taskQueue.open.set(task.lease, open - 1)
  else taskQueue.open.delete(task.lease)
}

/** Whether a task is one of those, or of one of those leases. */
export function matching(tasks: readonly number[], leases: readonly number[]): (task: LeasedTask) => boolean {
  const gone = new Set(tasks)
  const lapsed = new Set(leases)
  return ({ task, lease }) => gone.has(task) || lapsed.has(lease)
}

/** Most bytes of results in one request; what else is in it is small. */
const REPORT_BYTES = limits.exchange / 2

/** Results for a request, and every lease that still has tasks in hand besides. */
export function takeReport(taskQueue: TaskQueue): { results: TaskResult[]; leases: number[] } {
  let bytes = 0
  let taken = 0
  for (const result of taskQueue.results) {
    bytes += result.bytes
    if (taken === limits.batch || (taken > 0 && bytes > REPORT_BYTES)) break
    taken++
  }
  taskQueue.reported = taken
  const leases = new Set(taskQueue.open.keys())
  for (const { result } of taskQueue.results.slice(taken)) leases.add(result.lease)
  return { results: taskQueue.results.slice(0, taken).map(({ result }) => result), leases: [...leases] }
}

/** The manager has committed what was last reported. */
export function acknowledge(taskQueue: TaskQueue): void {
  taskQueue.results.splice(0, taskQueue.reported)
  taskQueue.reported = 0
}

function queueOf(taskQueue: TaskQueue, context: string): Queue {
  let queue = taskQueue.queues.get(context)
  if (!queue) taskQueue.queues.set(context, (queue = { together: [], alone: [] }))
  return queue
}

function count(taskQueue: TaskQueue, context: string, tasks: number): void {
  const left = unfinishedIn(taskQueue, context) + tasks
  if (left > 0) taskQueue.unfinished.set(context, left)
  else taskQueue.unfinished.delete(context)
}
