import type { BlobRef } from '../../protocol/blob.ts'
import { limits } from '../../protocol/primitives.ts'
import type { Lease, Outcome, TaskResult } from '../../protocol/task.ts'
import { fitOutcome } from './fit-outcome.ts'

/*
 * The tasks a worker has in hand, from the answer that leased them to the one that acknowledges their results.
 * Plain functions over plain state; what runs at the moment is known to the slots (see flight.ts).
 */

/** One leased task. */
export interface LeasedTask {
  readonly task: number
  readonly lease: number
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

export interface TaskQueue {
  queues: Map<string, Queue>
  /** Leases that are still ours, and how many of their tasks have no outcome. */
  open: Map<number, number>
  /** Tasks without an outcome, by context: queued and running. */
  unfinished: Map<string, number>
  /** Outcomes that the manager has not acknowledged, oldest first. */
  results: { result: TaskResult; bytes: number }[]
  /** How many of them are in the request under way. */
  reported: number
}

export function emptyTaskQueue(): TaskQueue {
  return { queues: new Map(), open: new Map(), unfinished: new Map(), results: [], reported: 0 }
}

export function addLease(taskQueue: TaskQueue, lease: Lease): void {
  const queue = queueOf(taskQueue, lease.context)
  for (const { task, input, blobs, alone = false } of lease.tasks) {
    const { context, function: name, timeLimitMs } = lease
    const held = { task, lease: lease.lease, context, function: name, input, blobs, alone, timeLimitMs }
    ;(alone ? queue.alone : queue.together).push(held)
  }
  taskQueue.open.set(lease.lease, lease.tasks.length)
  count(taskQueue, lease.context, lease.tasks.length)
}

/** Takes up to `max` tasks that may run beside each other from the front of a context's queue. */
export function takeTogether(taskQueue: TaskQueue, context: string, max: number): LeasedTask[] {
  return taskQueue.queues.get(context)?.together.splice(0, max) ?? []
}

/** Takes the first task that must run alone. */
export function takeAlone(taskQueue: TaskQueue, context: string): LeasedTask[] {
  return taskQueue.queues.get(context)?.alone.splice(0, 1) ?? []
}

export function waitsAlone(taskQueue: TaskQueue, context: string): boolean {
  return (taskQueue.queues.get(context)?.alone.length ?? 0) > 0
}

export function queuedIn(taskQueue: TaskQueue, context: string): number {
  const queue = taskQueue.queues.get(context)
  return queue ? queue.together.length + queue.alone.length : 0
}

export function unfinishedIn(taskQueue: TaskQueue, context: string): number {
  return taskQueue.unfinished.get(context) ?? 0
}

export function unfinishedInAll(taskQueue: TaskQueue): number {
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

/**
 * Notes how a task ended; `more` is what it printed, and the blobs of its value. A value that the manager would not take
 * becomes an error of the task.
 */
export function finishTask(
  taskQueue: TaskQueue,
  task: LeasedTask,
  outcome: Outcome,
  ms: number,
  more: Pick<TaskResult, 'log' | 'blobs'> = {},
): void {
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
    for (const task of returned) finishTask(taskQueue, task, { status: 'returned' }, 0)
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
