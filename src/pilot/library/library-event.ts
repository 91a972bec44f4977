import type { Level } from '../../protocol/contexts/context.ts'
import type { TaskError } from '../../protocol/task.ts'
import type { Usage } from '../policy/library-eviction.ts'
import type { EndedTask, LeasedTask } from '../tasks/task-queue.ts'

/**
 * What happens to a library of a slot. A session or its supervisor says it; each level above takes note of what concerns it
 * and passes it on, as far as the node supervisor.
 */
export type LibraryEvent =
  | LoadingEvent
  /** What it takes has been measured, bytes; now and then, from its start on. `device` is 0 where the driver does not tell. */
  | { type: 'measured'; usage: Usage }
  /**
   * Calls ended together: those of `tasks`, and some whose values are still on their way. `done` of them have a value; they
   * took that time since the last ones ended, and the longest of them that long, milliseconds.
   */
  | { type: 'calls-ended'; tasks: EndedTask[]; done: number; busyMs: number; longestMs: number }
  /** A task has an outcome besides: blobs of its input or of its value have come, or have not. */
  | { type: 'task-ended'; task: EndedTask }
  /** A task says for the first time how far it is. */
  | { type: 'progress-begun' }
  /** Calls that had not begun were taken back; their tasks are no longer this worker's. */
  | { type: 'calls-withdrawn'; tasks: LeasedTask[] }
  /** Its process has ended, and with it these tasks; the `spared` ones did not run. */
  | { type: 'process-ended'; tasks: EndedTask[]; spared: LeasedTask[] }

/** A library on its way into a slot, and out of it. */
export type LoadingEvent =
  /** It brings files of its own. */
  | { type: 'fetching' }
  | { type: 'loading' }
  /** It is ready for calls; `memory` in bytes. */
  | { type: 'loaded'; level: Level; memory?: number | undefined }
  | { type: 'unloaded' }
  /** It could not be loaded. */
  | { type: 'failed'; error: TaskError }
