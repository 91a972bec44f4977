import type { ResultRow } from '../../protocol/client.ts'
import type { BlobTransfer } from './blob-transfer.ts'
import { parcelOf, type TaskProgress, TaskFuture, type TaskState, type TaskView } from './task-future.ts'
import { DependencyError, RemoteError } from './remote-error.ts'
import type { JobCalls, SubmittedCall } from './job-calls.ts'
import { pack, EncodedValue, unpack } from './value-codec.ts'

/** How calls are made. */
export interface CallPlan {
  calls: () => JobCalls
  /** Brings large results; also tells one client's calls from another's. */
  blobs: Pick<BlobTransfer, 'get'>
  /** Cancels the call. */
  signal?: AbortSignal | undefined
}

/** Makes one call: waits for the arguments that are promises, hands it in, and turns its result into a value or an error. */
export function startCall(args: readonly unknown[], plan: CallPlan): TaskFuture<unknown> {
  const call = new RemoteCall(plan)
  call.start(args)
  return new TaskFuture((resolve) => resolve(call.value), call)
}

class RemoteCall implements TaskView {
  state: TaskState = 'waiting'
  readonly #plan: CallPlan
  readonly #value = Promise.withResolvers<unknown>()
  /** The result as it travels. */
  readonly #arrival = Promise.withResolvers<EncodedValue>()
  readonly #onAbort = () => this.cancel(this.#plan.signal?.reason)
  #submitted: SubmittedCall | undefined
  /** The value was asked for. */
  #isDemanded = false
  #isLoading = false
  #parcel: EncodedValue | undefined

  constructor(plan: CallPlan) {
    this.#plan = plan
  }

  get value(): Promise<unknown> {
    return this.#value.promise
  }

  get id(): string | undefined {
    return this.#submitted?.key
  }

  get progress(): TaskProgress {
    const heard = this.#submitted?.progress()
    const { key: _, ...known } = heard ?? { key: '', attempt: this.#submitted ? 1 : 0 }
    const running = this.state === 'queued' && 'worker' in known
    return { ...known, state: running ? 'running' : this.state }
  }

  start(args: readonly unknown[]): void {
    const { signal, blobs } = this.#plan
    if (signal?.aborted) this.#onAbort()
    else signal?.addEventListener('abort', this.#onAbort, { once: true })
    const submit = (values: readonly unknown[]) => this.#submit(values)
    // Without promises among them the call is in the submission of this very turn.
    if (args.some(isPromiseLike)) void settleAll(args, blobs).then(submit, this.#failed)
    else submit(args)
    // Code that asks for it hears of it; other code hears of it by the value.
    this.#arrival.promise.catch(() => {})
  }

  cancel(reason: unknown = new DOMException('the call was cancelled', 'AbortError')): void {
    this.#end('cancelled', () => this.#reject(reason))
    this.#submitted?.cancel()
  }

  demand(): void {
    this.#isDemanded = true
    if (!this.#parcel || this.#isLoading) return
    this.#isLoading = true
    this.#load(this.#parcel).then(this.#value.resolve, (error: unknown) => {
      this.state = 'failed'
      this.#value.reject(error)
    })
  }

  async parcel(owner: object): Promise<EncodedValue | undefined> {
    const parcel = await this.#arrival.promise
    return owner === this.#plan.blobs && parcel.blobs.length > 0 ? parcel : undefined
  }

  #submit(values: readonly unknown[]): void {
    if (this.#hasEnded()) return
    try {
      this.#submitted = this.#plan.calls().submit(pack(values))
    } catch (error) {
      return this.#failed(error)
    }
    this.state = 'queued'
    this.#submitted.row.then((row) => this.#finish(row), this.#failed)
  }

  #finish(row: ResultRow): void {
    if (row.status !== 'done') return this.#failed(new RemoteError(row))
    const parcel = new EncodedValue(row.value!, row.blobs ?? [])
    this.#end('done', () => this.#arrival.resolve(parcel))
    this.#parcel = parcel
    // What costs nothing more is made a value at once, so that an error in it is not missed.
    if (this.#isDemanded || parcel.blobs.length === 0) this.demand()
  }

  readonly #failed = (error: unknown): void => this.#end('failed', () => this.#reject(error))

  #hasEnded(): boolean {
    return this.state !== 'waiting' && this.state !== 'queued'
  }

  #end(as: TaskState, settle: () => void): void {
    if (this.#hasEnded()) return
    this.state = as
    this.#plan.signal?.removeEventListener('abort', this.#onAbort)
    settle()
  }

  #reject(error: unknown): void {
    this.#value.reject(error)
    this.#arrival.reject(error)
  }

  async #load({ json, blobs: refs }: EncodedValue): Promise<unknown> {
    const { blobs, signal } = this.#plan
    const bytes = refs.length > 0 ? await blobs.get(refs, { signal }) : new Map<string, Buffer>()
    return unpack(json, ({ sha256 }) => bytes.get(sha256)!)
  }
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
