import type { CallOutcome } from '../library-kind.ts'
import type { TaskError } from '../../../protocol/task.ts'

/* What the library's main thread and threads that hold a context of their own say to each other, once a thread was started with a setup. */

export type ToThread =
  /** Run these calls: a JSON array of ids and inputs, for numbers keep their digits there. */
  | { readonly type: 'run'; readonly name: string; readonly calls: string }
  /** Which calls may begin of those that were announced last. */
  | { readonly type: 'begun'; readonly ids: readonly number[] }
  | { readonly type: 'cancelled'; readonly id: number }
  | { readonly type: 'close' }

export type FromThread =
  | { readonly type: 'ready'; readonly level: 'memory' | 'device'; readonly functions: readonly string[] }
  | { readonly type: 'failed'; readonly error: TaskError }
  | { readonly type: 'begin'; readonly ids: readonly number[] }
  | { readonly type: 'end'; readonly id: number; readonly outcome: ThreadOutcome }
  | { readonly type: 'part'; readonly id: number; readonly part: unknown }
  | {
      readonly type: 'progress'
      readonly ids: readonly number[]
      readonly done: number
      readonly total: number | undefined
    }
  /** All calls have ended. */
  | { readonly type: 'done' }

/** An outcome whose error can cross: threads share no classes. */
export type ThreadOutcome =
  Exclude<CallOutcome, { error: unknown }> | { error: TaskError; log?: string | undefined }

/** An error that came over, as it was. */
export function reviveError({ name, message, stack }: TaskError): Error {
  return Object.assign(new Error(message), { name, stack })
}
