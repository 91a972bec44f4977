import type { TaskFuture } from './future.ts'

export interface MapOptions {
  /** Most calls that have begun and whose results were not read. Default: 1000. */
  window?: number
}

/** How one item of a map came out. */
export type Mapped<I, R> = { index: number; input: I } & (
  { value: R; error?: undefined } | { value?: undefined; error: Error }
)

const WINDOW = 1000

/**
 * Calls a function with each item, and yields results as they come. Reads `items` no further than `window` ahead. Calls that
 * have not ended when the reader stops are cancelled.
 */
export async function* mapItems<I, R>(
  call: (item: I) => TaskFuture<R>,
  items: Iterable<I> | AsyncIterable<I>,
  { window = WINDOW }: MapOptions = {},
): AsyncGenerator<Mapped<I, R>, void, undefined> {
  const source = iterate(items)
  const running = new Set<TaskFuture<R>>()
  const ended: Mapped<I, R>[] = []
  let bell = Promise.withResolvers<void>()
  let next: Promise<void> | undefined
  let exhausted = false
  let failure: { error: unknown } | undefined
  let index = 0

  function begin(input: I): void {
    const at = index++
    const future = call(input)
    running.add(future)
    const end = (outcome: { value: R } | { error: Error }) => {
      running.delete(future)
      ended.push({ index: at, input, ...outcome })
      bell.resolve()
    }
    future.then(
      (value) => end({ value }),
      (error: unknown) => end({ error: error instanceof Error ? error : new Error(String(error)) }),
    )
  }

  async function advance(): Promise<void> {
    try {
      const item = await source.next()
      if (item.done) exhausted = true
      else begin(item.value)
    } catch (error) {
      exhausted = true
      failure = { error }
    }
    next = undefined
    bell.resolve()
  }

  try {
    for (;;) {
      while (ended.length > 0) yield ended.shift()!
      if (exhausted && running.size === 0) break
      if (!exhausted && running.size < window) next ??= advance()
      await bell.promise
      bell = Promise.withResolvers()
    }
    if (failure) throw failure.error
  } finally {
    for (const future of running) future.cancel()
    await source.return?.()
  }
}

function iterate<I>(items: Iterable<I> | AsyncIterable<I>): AsyncIterator<I> | Iterator<I> {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
}
