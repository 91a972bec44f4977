import type { TaskFuture } from './task-future.ts'
import type { MapOptions, MapResults } from './map-items.ts'

/* What an application may write, derived from the type of its module. */

type Callable = (...args: never[]) => unknown

/** Names of a module's exports that can be called. */
export type FunctionNames<M> = { [K in keyof M]: M[K] extends Callable ? K & string : never }[keyof M]

/** Each argument may also be a promise of it, such as the future of another call. */
export type Arguments<A extends unknown[]> = { [I in keyof A]: A[I] | PromiseLike<A[I]> }

type ParametersOf<F> = F extends (...args: infer A) => unknown ? A : never
type ResultOf<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never

/** A module's setup function by name, and its arguments. */
export type SetupOf<M> = {
  [K in FunctionNames<M>]: readonly [name: K, ...args: ParametersOf<M[K]>]
}[FunctionNames<M>]

/** How calls are made. */
export interface AppOptions<M> {
  /**
   * The function of the module that sets up a context, once for each library, and its arguments. What the object that it returns
   * holds is there for `loadVariable`. Default: nothing to set up.
   */
  context?: SetupOf<M>
  /**
   * Folders that workers fetch and keep, from the factory and from each other, such as a model's; the module finds them by
   * `bundleFolder(name)`. Relative to the module's own folder; the factory must see them under the same path.
   */
  bundles?: Record<string, string>
  /**
   * A name by which the application, started again, finds its calls: those that have ended are not run again. At most 80
   * characters. Default: calls belong to this start only, and those that have not ended when the client is closed are cancelled.
   */
  job?: string
  /** How often a call whose function threw is tried again. Default: 0. */
  retries?: number
  /** Longest one call may run, milliseconds. Default: no limit. */
  timeLimitMs?: number
  /** From -1000 to 1000; higher goes first. Default: 0. */
  priority?: number
  /** Cancels the calls that have not ended yet. */
  signal?: AbortSignal
}

/** A function of a module, to be called where the factory has room. */
export interface RemoteFunction<M, F> {
  /**
   * Calls it. Arguments and result travel as copies: JSON, and dates, maps, sets, bigints, typed arrays and Buffers.
   *
   * The future is rejected with a RemoteError if the function throws, a DependencyError if an argument does not come, a
   * JobStuckError if its context cannot be set up, or another GleanerError.
   */
  (...args: Arguments<ParametersOf<F>>): TaskFuture<ResultOf<F>>
  /** The same function with other options; those not given stay. */
  with(options: AppOptions<M>): RemoteFunction<M, F>
  /**
   * Calls it with each item as its first argument, and yields results as they come, in no order. Takes no more items than
   * `window` ahead of the results that were read. A call that fails is a result with an `error`.
   *
   * @example
   * for await (const { input, value, error } of infer.map(claims)) console.log(input, error ?? value)
   */
  map<I extends ParametersOf<F>[0]>(
    items: Iterable<I> | AsyncIterable<I>,
    options?: MapOptions,
  ): MapResults<I, ResultOf<F>>
}

/** A user's module, whose functions run on workers. */
export type App<M> = { readonly [K in FunctionNames<M>]: RemoteFunction<M, M[K]> }
