import { contextOf, type Job, type SchedulerState } from './state.ts'

/*
 * What waits, counted as it comes and goes: what is decided for one worker must not cost more for every job and context that
 * there is. The queues of jobs are changed here only.
 */

/** Queues the tasks `[start, end)` of a job. */
export function enqueue(state: SchedulerState, job: Job, start: number, end = start + 1): void {
  job.queue.add(start, end)
  count(state, job, Math.max(0, end - start))
}

/** Takes a job's first tasks out of its queue, `most` of them. */
export function dequeue(state: SchedulerState, job: Job, most: number): number[] {
  const tasks = job.queue.take(most)
  count(state, job, -tasks.length)
  return tasks
}

/** Takes one task out of its job's queue, if it is there. */
export function withdraw(state: SchedulerState, job: Job, task: number): void {
  if (job.queue.delete(task)) count(state, job, -1)
}

/** Takes all of a job's tasks out of its queue. */
export function withdrawAll(state: SchedulerState, job: Job): void {
  count(state, job, -job.queue.size)
  job.queue.clear()
}

function count(state: SchedulerState, job: Job, change: number): void {
  const context = contextOf(state, job.context)
  context.queued += change
  if (context.queued > 0) state.waiting.add(context)
  else state.waiting.delete(context)
}

/** Whether any task waits for a worker. */
export function isAnyQueued(state: SchedulerState): boolean {
  return state.waiting.size > 0
}
