import type { Logger } from 'pino'
import { toTaskError } from '../../common/task-errors.ts'
import {
  nextContextState,
  type ContextEvent,
  type ContextState,
  shouldFetchNow,
  unknownContext,
} from './context-state.ts'
import type { LoadableContext } from '../library/library-supervisor.ts'

/** A context whose files stay here until it is disposed of. */
export type FetchedContext = LoadableContext &
  AsyncDisposable & {
    /** Deletes those of its files that no library holds. */
    discard: () => Promise<void>
  }

/** Brings a context's files here. */
export type FetchContext = (
  context: string,
  onProgress: (bytesHeld: number, bytesTotal: number) => void,
  signal: AbortSignal,
) => Promise<FetchedContext>

/** The contexts this worker has heard of, and the files of those that are here. */
export interface HeldContexts {
  states(): Iterable<ContextState>
  state(context: string): ContextState
  /** The context, if its files are here. */
  loadable(context: string): LoadableContext | undefined
  /** Notes what happened to a context. */
  note: (context: string, event: ContextEvent) => void
  /** The manager wants the context here: brings its files, unless they are here, on their way, or just failed to come. */
  want(context: string): void
  /** Lets the files of a context go, or stops fetching them. */
  release(context: string): void
  /** Deletes the files of a context that was released. */
  discard(context: string): void
  /** Lets all go; resolves when nothing is under way any more. */
  close(): Promise<void>
}

/** Contexts that are remembered: a report lists them all. */
const REMEMBERED = 200

export interface HeldContextsOptions {
  fetch: FetchContext
  /** Called after each event but mere progress. */
  onChange: (context: string, event: ContextEvent) => void
  log: Logger
}

export function createHeldContexts({ fetch, onChange, log }: HeldContextsOptions): HeldContexts {
  const states = new Map<string, ContextState>()
  const held = new Map<string, FetchedContext>()
  /** Contexts that were let go, and may still be on disk. */
  const left = new Map<string, { files: FetchedContext; gone: Promise<void> }>()
  const fetching = new Map<string, { stop: AbortController; done: Promise<void> }>()

  const state = (id: string) => states.get(id) ?? unknownContext(id)

  function note(id: string, event: ContextEvent) {
    states.set(id, nextContextState(state(id), event, performance.now()))
    if (states.size > REMEMBERED) forgetOne()
    if (event.type !== 'progress') onChange(id, event)
  }

  /** The one heard of first among those of which nothing is here. */
  function forgetOne() {
    for (const [id, { files, libraries }] of states) {
      if (libraries.size === 0 && (files === 'absent' || files === 'left')) return states.delete(id)
    }
    return false
  }

  async function bring(id: string, signal: AbortSignal): Promise<void> {
    note(id, { type: 'fetching' })
    try {
      const progress = (bytesHeld: number, bytesTotal: number) =>
        note(id, { type: 'progress', bytesHeld, bytesTotal })
      const context = await fetch(id, progress, signal)
      held.set(id, context)
      left.delete(id)
      note(id, { type: 'fetched', apart: context.bring !== undefined })
    } catch (error) {
      if (!signal.aborted) log.error({ context: id, err: error }, 'the context cannot be fetched')
      note(id, signal.aborted ? { type: 'released' } : { type: 'failed', error: toTaskError(error) })
    } finally {
      fetching.delete(id)
    }
  }

  async function letGo(id: string, files: FetchedContext): Promise<void> {
    try {
      await files[Symbol.asyncDispose]()
    } catch (error) {
      log.warn({ context: id, err: error }, 'the files of a context stay claimed until the worker ends')
    }
  }

  return {
    states: () => states.values(),
    state,
    loadable: (id) => held.get(id),
    note,
    want(id) {
      if (!shouldFetchNow(state(id), performance.now()) || fetching.has(id)) return
      note(id, { type: 'asked' })
      if (held.has(id)) return
      const stop = new AbortController()
      fetching.set(id, { stop, done: bring(id, stop.signal) })
    },
    release(id) {
      fetching.get(id)?.stop.abort()
      const files = held.get(id)
      if (!files) return
      held.delete(id)
      left.set(id, { files, gone: letGo(id, files) })
      note(id, { type: 'released' })
    },
    discard(id) {
      const last = left.get(id)
      if (!last) return
      left.delete(id)
      note(id, { type: 'discarded' })
      const { files, gone } = last
      gone
        .then(() => files.discard())
        .catch((error: unknown) => log.warn({ context: id, err: error }, 'files are left on disk'))
    },
    async close() {
      for (const { stop } of fetching.values()) stop.abort()
      await Promise.all([...fetching.values()].map(({ done }) => done))
      await Promise.all([...held].map(([id, files]) => letGo(id, files)))
      held.clear()
    },
  }
}
