import type { TaskFuture } from './task-future.ts'

export interface MapOptions {
  /** Most calls that have begun and whose results were not read. Default: 1000. */
  window?: number
}

/** How one item of a map came out. */
export type Mapped<I, R> = { index: number; input: I } & (
  { value: R; error?: undefined } | { value?: undefined; error: Error }
)

/** How far a map is. */
export interface MapProgress {
  /** Calls that have ended, well or not. */
  done: number
  failed: number
  /** Calls that have begun and not ended. */
  running: number
  /** Items in all, if that is known. */
  total?: number
  /** Calls that ended per second, since the first began. */
  rate: number
}

/** Results as they come. */
export interface MapResults<I, R> extends AsyncGenerator<Mapped<I, R>, void, undefined> {
  readonly progress: MapProgress
}

const WINDOW = 1000

/**
 * Calls a function with each item, and yields results as they come. Reads `items` no further than `window` ahead. Calls that
 * have not ended when the reader stops are cancelled.
 */
export function mapItems<I, R>(
  call: (item: I) => TaskFuture<R>,
  items: Iterable<I> | AsyncIterable<I>,
  { window = WINDOW }: MapOptions = {},
): MapResults<I, R> {
  const counts = { begun: 0, done: 0, failed: 0, total: sizeOf(items), startedAt: performance.now() }
  const results = yieldResults(call, items, window, counts)
  return Object.defineProperty(results, 'progress', { get: () => progressOf(counts) }) as MapResults<I, R>
}

interface Counts {
  begun: number
  done: number
  failed: number
  total: number | undefined
  /** When the first call was made. */
  startedAt: number
}

function progressOf({ begun, done, failed, total, startedAt }: Counts): MapProgress {
  const seconds = (performance.now() - startedAt) / 1000
  const running = begun - done
  return {
    done,
    failed,
    running,
    ...(total !== undefined && { total }),
    rate: seconds > 0 ? done / seconds : 0,
  }
}

function sizeOf(items: object): number | undefined {
  const { length, size } = items as { length?: unknown; size?: unknown }
  return [length, size].find((number) => typeof number === 'number')
}

async function* yieldResults<I, R>(
  call: (item: I) => TaskFuture<R>,
  items: Iterable<I> | AsyncIterable<I>,
  window: number,
  counts: Counts,
): AsyncGenerator<Mapped<I, R>, void, undefined> {
  const source = iterate(items)
  const running = new Set<TaskFuture<R>>()
  const ended: Mapped<I, R>[] = []
  let bell = Promise.withResolvers<void>()
  let next: Promise<void> | undefined
  let exhausted = false
  let failure: { error: unknown } | undefined

  function begin(input: I): void {
    const at = counts.begun++
    if (at === 0) counts.startedAt = performance.now()
    const future = call(input)
    running.add(future)
    const end = (outcome: { value: R } | { error: Error }) => {
      running.delete(future)
      counts.done++
      if ('error' in outcome) counts.failed++
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
      if (item.done) {
        exhausted = true
        counts.total = counts.begun
      } else begin(item.value)
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
