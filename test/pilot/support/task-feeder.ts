import type { LibraryEvent } from '../../../src/pilot/library/library-event.ts'
import {
  addLease,
  closeTask,
  emptyTaskQueue,
  finishTask,
  putBack,
  takeNext,
  type LeasedTask,
  type TaskQueue,
} from '../../../src/pilot/tasks/task-queue.ts'
import type { Lease } from '../../../src/protocol/task.ts'

/** What is given calls: a library session, or the open one of a slot. */
interface Fed {
  readonly isOpen: boolean
  readonly calls: number
  give(tasks: LeasedTask[]): void
}

/** Feeds one library from a task queue with these leases, and notes what becomes of the tasks, as the node supervisor does. */
export function feedLibrary(
  context: string,
  leases: readonly Lease[],
  window: number,
  library: () => Fed | undefined,
): { taskQueue: TaskQueue; feed: () => void; note: (event: LibraryEvent) => void } {
  const taskQueue = emptyTaskQueue()
  for (const lease of leases) addLease(taskQueue, lease)
  const feed = () => {
    const fed = library()
    if (fed?.isOpen) fed.give(takeNext(taskQueue, context, fed.calls, window))
  }
  return {
    taskQueue,
    feed,
    note(event) {
      if (event.type === 'task-ended') finishTask(taskQueue, event.task)
      if (event.type === 'calls-withdrawn') for (const task of event.tasks) closeTask(taskQueue, task)
      if (event.type === 'calls-ended' || event.type === 'process-ended')
        for (const task of event.tasks) finishTask(taskQueue, task)
      if (event.type === 'process-ended') putBack(taskQueue, event.spared)
      if (event.type === 'calls-ended' || event.type === 'loaded') feed()
    },
  }
}
