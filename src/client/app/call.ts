import type { ResultRow } from '../../protocol/client.ts'
import { TaskFuture, type TaskState } from './future.ts'
import { DependencyError, RemoteError } from './remote-error.ts'
import type { Session, Submitted } from './session.ts'
import { decode, encode } from './values.ts'

/**
 * Makes one call: waits for the arguments that are promises, hands it in, and turns its result into a value or an error.
 *
 * @param signal cancels it
 */
export function startCall(
  args: readonly unknown[],
  session: () => Session,
  signal: AbortSignal | undefined,
): TaskFuture<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  let state: TaskState = 'waiting'
  let submitted: Submitted | undefined

  const hasEnded = () => state !== 'waiting' && state !== 'queued'

  function end(as: TaskState, settle: () => void): void {
    if (hasEnded()) return
    state = as
    signal?.removeEventListener('abort', onAbort)
    settle()
  }
  const failed = (error: unknown) => end('failed', () => reject(error))

  function cancel(reason: unknown = new DOMException('the call was cancelled', 'AbortError')): void {
    end('cancelled', () => reject(reason))
    submitted?.cancel()
  }
  const onAbort = () => cancel(signal?.reason)

  function submit(values: readonly unknown[]): void {
    if (hasEnded()) return
    try {
      submitted = session().submit(encode(values))
    } catch (error) {
      return failed(error)
    }
    state = 'queued'
    submitted.row.then(finish, failed)
  }

  function finish(row: ResultRow): void {
    if (row.status !== 'done') return failed(new RemoteError(row))
    try {
      const value = decode(row.value!)
      end('done', () => resolve(value))
    } catch (error) {
      failed(error)
    }
  }

  if (signal?.aborted) onAbort()
  else signal?.addEventListener('abort', onAbort, { once: true })
  // Without promises among them the call is in the submission of this very turn.
  if (args.some(isPromiseLike)) void settleAll(args).then(submit, failed)
  else submit(args)

  return new TaskFuture((resolve) => resolve(promise), {
    get id() {
      return submitted?.key
    },
    get state() {
      return state
    },
    cancel,
  })
}

async function settleAll(args: readonly unknown[]): Promise<unknown[]> {
  return await Promise.all(
    args.map(async (arg, position) => {
      try {
        return await arg
      } catch (error) {
        throw new DependencyError(position, error)
      }
    }),
  )
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
