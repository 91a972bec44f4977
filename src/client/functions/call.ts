import type { ResultRow } from '../../protocol/client.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import { parcelOf, type TaskProgress, TaskFuture, type TaskState } from './task-future.ts'
import { DependencyError, RemoteError } from './remote-error.ts'
import type { JobSession, SubmittedCall } from './job-session.ts'
import { pack, EncodedValue, unpack } from './value-codec.ts'

/** How calls are made. */
export interface CallPlan {
  session: () => JobSession
  /** Brings large results; also tells one client's calls from another's. */
  blobs: Pick<BlobTransfer, 'get'>
  /** Cancels the call. */
  signal?: AbortSignal | undefined
}

/** Makes one call: waits for the arguments that are promises, hands it in, and turns its result into a value or an error. */
export function startCall(
  args: readonly unknown[],
  { session, blobs, signal }: CallPlan,
): TaskFuture<unknown> {
  const value = Promise.withResolvers<unknown>()
  /** The result as it travels. */
  const arrival = Promise.withResolvers<EncodedValue>()
  let state: TaskState = 'waiting'
  let submitted: SubmittedCall | undefined
  let isDemanded = false
  let demand = () => void (isDemanded = true)

  const hasEnded = () => state !== 'waiting' && state !== 'queued'

  function end(as: TaskState, settle: () => void): void {
    if (hasEnded()) return
    state = as
    signal?.removeEventListener('abort', onAbort)
    settle()
  }
  const reject = (error: unknown) => {
    value.reject(error)
    arrival.reject(error)
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
      submitted = session().submit(pack(values))
    } catch (error) {
      return failed(error)
    }
    state = 'queued'
    submitted.row.then(finish, failed)
  }

  function finish(row: ResultRow): void {
    if (row.status !== 'done') return failed(new RemoteError(row))
    const parcel = new EncodedValue(row.value!, row.blobs ?? [])
    end('done', () => arrival.resolve(parcel))
    let loading = false
    demand = () => {
      if (loading) return
      loading = true
      load(parcel).then(value.resolve, (error: unknown) => {
        state = 'failed'
        value.reject(error)
      })
    }
    // What costs nothing more is made a value at once, so that an error in it is not missed.
    if (isDemanded || parcel.blobs.length === 0) demand()
  }

  async function load({ json, blobs: refs }: EncodedValue): Promise<unknown> {
    const bytes = refs.length > 0 ? await blobs.get(refs, { signal }) : new Map<string, Buffer>()
    return unpack(json, ({ sha256 }) => bytes.get(sha256)!)
  }

  if (signal?.aborted) onAbort()
  else signal?.addEventListener('abort', onAbort, { once: true })
  // Without promises among them the call is in the submission of this very turn.
  if (args.some(isPromiseLike)) void settleAll(args, blobs).then(submit, failed)
  else submit(args)
  // Code that asks for it hears of it; other code hears of it by the value.
  arrival.promise.catch(() => {})

  function progress(): TaskProgress {
    const { key: _, ...heard } = submitted?.progress() ?? { key: '', attempt: submitted ? 1 : 0 }
    const running = state === 'queued' && 'worker' in heard
    return { ...heard, state: running ? 'running' : state }
  }

  return new TaskFuture((resolve) => resolve(value.promise), {
    get id() {
      return submitted?.key
    },
    get state() {
      return state
    },
    get progress() {
      return progress()
    },
    cancel,
    demand: () => demand(),
    async parcel(owner) {
      const parcel = await arrival.promise
      return owner === blobs && parcel.blobs.length > 0 ? parcel : undefined
    },
  })
}

/** The values of arguments, or what stands for those that are large and known to the factory. */
async function settleAll(args: readonly unknown[], owner: object): Promise<unknown[]> {
  return await Promise.all(
    args.map(async (arg, position) => {
      try {
        return (arg instanceof TaskFuture && (await parcelOf(arg, owner))) || (await arg)
      } catch (error) {
        throw new DependencyError(position, error)
      }
    }),
  )
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
