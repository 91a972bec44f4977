import type { Parcel } from './values.ts'

/**
 * Where a call is: `waiting` for arguments that are still being computed, `queued` at the factory (or running), or ended.
 */
export type TaskState = 'waiting' | 'queued' | 'done' | 'failed' | 'cancelled'

/** What a {@link TaskFuture} shows of its call. */
export interface TaskView {
  /** The call's key in its job, known as soon as its arguments are. */
  readonly id: string | undefined
  readonly state: TaskState
  cancel(reason?: unknown): void
  /** Somebody wants the result itself: large parts of it are not brought before. */
  demand(): void
  /**
   * The result as it travels, if it has large parts and is known to the factory of `owner`; undefined if not.
   * @throws why the call failed
   */
  parcel(owner: object): Promise<Parcel | undefined>
}

/** See {@link TaskView.parcel}. */
export let parcelOf: (future: TaskFuture<unknown>, owner: object) => Promise<Parcel | undefined>

/** The result of a remote call, some day: a promise that can also be looked at, cancelled, and given to other calls. */
export class TaskFuture<T> extends Promise<T> {
  readonly #task: TaskView

  /** What `then` makes is an ordinary promise. */
  static override get [Symbol.species]() {
    return Promise
  }

  static {
    parcelOf = (future, owner) => {
      // A failure is the asker's now.
      void Promise.prototype.then.call(future, undefined, () => {})
      return future.#task.parcel(owner)
    }
  }

  constructor(
    executor: (resolve: (value: T | PromiseLike<T>) => void, reject: (reason: unknown) => void) => void,
    task: TaskView,
  ) {
    super(executor)
    this.#task = task
  }

  /** Also brings a result that is so large that it is left at the factory until it is asked for. */
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#task.demand()
    return super.then(onFulfilled, onRejected)
  }

  /** The call's key in its job, known as soon as its arguments are. */
  get id(): string | undefined {
    return this.#task.id
  }

  get state(): TaskState {
    return this.#task.state
  }

  /** Gives the call up: the future is rejected with `reason` (default: an AbortError), and so are calls that depend on it. */
  cancel(reason?: unknown): void {
    this.#task.cancel(reason)
  }
}
