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
}

/** The result of a remote call, some day: a promise that can also be looked at, cancelled, and given to other calls. */
export class TaskFuture<T> extends Promise<T> {
  readonly #task: TaskView

  /** What `then` makes is an ordinary promise. */
  static override get [Symbol.species]() {
    return Promise
  }

  constructor(
    executor: (resolve: (value: T | PromiseLike<T>) => void, reject: (reason: unknown) => void) => void,
    task: TaskView,
  ) {
    super(executor)
    this.#task = task
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
