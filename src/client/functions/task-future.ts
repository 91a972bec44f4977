import type { EncodedValue } from './value-codec.ts'

/**
 * Where a call is: `waiting` for arguments that are still being computed, `queued` at the factory (or running), or ended.
 */
export type TaskState = 'waiting' | 'queued' | 'done' | 'failed' | 'cancelled'

/** How far a call is, as was last heard. */
export interface TaskProgress {
  /** As the future's own, and `running` once a worker has it. */
  state: TaskState | 'running'
  /** 1 at first, one more each time it failed or crashed and is tried again; 0 before it is handed in. */
  attempt: number
  /** The worker that has it, and that one's node. */
  worker?: string | undefined
  node?: string | undefined
  /** For how long, milliseconds. */
  ms?: number | undefined
  /** What the function said last by `reportProgress`. */
  done?: number | undefined
  total?: number | undefined
}

/** What a {@link TaskFuture} shows of its call. */
export interface TaskView {
  /** The call's key in its job, known as soon as its arguments are. */
  readonly id: string | undefined
  readonly state: TaskState
  readonly progress: TaskProgress
  cancel(reason?: unknown): void
  /** The result itself is wanted: large parts of it are not brought before. */
  demand(): void
  /**
   * The result as it travels, if it has large parts and is known to the factory of `owner`; undefined if not.
   * @throws why the call failed
   */
  parcel(owner: object): Promise<EncodedValue | undefined>
}

/** See {@link TaskView.parcel}. */
export let parcelOf: (future: TaskFuture<unknown>, owner: object) => Promise<EncodedValue | undefined>

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

  /**
   * How far the call is. To look is to ask: what is heard from the factory is there a second later at the latest, and kept up
   * to date while it is looked at now and then.
   */
  get progress(): TaskProgress {
    return this.#task.progress
  }

  /** Gives the call up: the future is rejected with `reason` (default: an AbortError), and so are calls that depend on it. */
  cancel(reason?: unknown): void {
    this.#task.cancel(reason)
  }
}
