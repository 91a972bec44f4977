import { LEVELS, type Level } from '../../protocol/contexts/context.ts'
import type { TaskError } from '../../protocol/task.ts'
import type { ContextReport } from '../../protocol/worker.ts'
import type { LoadingEvent } from '../library/library-event.ts'

/*
 * One context's way up on this worker: its files come to disk, then libraries load it. A state is never changed, only
 * followed by another; times are milliseconds on one clock.
 */

export interface ContextState {
  readonly id: string
  /** `disk`: held there. `apart`: each library brings its own. `left`: no longer wanted, most likely still there. */
  readonly files: 'absent' | 'fetching' | 'disk' | 'apart' | 'left'
  readonly bytesHeld?: number
  readonly bytesTotal?: number
  readonly libraries: ReadonlyMap<number, LibraryState>
  /** Time spent so far, and since when it is being spent. */
  readonly fetchMs: number
  readonly fetchingSince?: number
  readonly loadMs: number
  /** Memory that one library of it takes, bytes. */
  readonly memory?: number
  readonly attempts: number
  /** Why the last attempt failed, and when. */
  readonly failure?: { readonly error: TaskError; readonly at: number }
}

/** A library of a slot: it brings files of its own, or is loading, until it has a level. */
interface LibraryState {
  readonly since: number
  readonly fetching?: boolean
  readonly level?: Level
}

export type ContextEvent =
  /** The manager wants it, for the first time or once more after a failure. */
  | { type: 'asked' }
  /** What failed is not held against it: it may be tried at once. */
  | { type: 'excused' }
  /** Its files are on their way, for all slots. */
  | { type: 'fetching'; slot?: undefined }
  | { type: 'progress'; bytesHeld: number; bytesTotal: number }
  /** They are here; or, `apart`, known to each library that loads it. */
  | { type: 'fetched'; apart?: boolean }
  /** Its files need not stay, or not come. */
  | { type: 'released' }
  /** Its files are deleted. */
  | { type: 'discarded' }
  /** It could not be fetched. */
  | { type: 'failed'; slot?: undefined; error: TaskError }
  /** Something happened to its library in a slot. */
  | (LoadingEvent & { slot: number })

export function unknownContext(id: string): ContextState {
  return { id, files: 'absent', libraries: new Map(), fetchMs: 0, loadMs: 0, attempts: 0 }
}

/** What a context is after something happened to it. */
export function nextContextState(state: ContextState, event: ContextEvent, now: number): ContextState {
  switch (event.type) {
    case 'asked': {
      const { failure: _, ...rest } = state
      return { ...rest, attempts: state.attempts + 1 }
    }
    case 'excused':
      return state.failure ? { ...state, failure: { ...state.failure, at: -Infinity } } : state
    case 'fetching':
      if (event.slot !== undefined) return withLibrary(state, event.slot, { since: now, fetching: true })
      return { ...state, files: 'fetching', fetchingSince: now }
    case 'progress':
      return { ...state, bytesHeld: event.bytesHeld, bytesTotal: event.bytesTotal }
    case 'fetched':
      return { ...fetchingEnded(state, now), files: event.apart ? 'apart' : 'disk' }
    case 'released':
      if (state.files === 'fetching') return fetchingEnded(state, now)
      return { ...state, files: state.files === 'apart' ? 'absent' : 'left' }
    case 'discarded':
      return { ...state, files: 'absent' }
    case 'loading': {
      const before = state.libraries.get(event.slot)
      const fetchMs = state.fetchMs + (before?.fetching ? now - before.since : 0)
      return { ...withLibrary(state, event.slot, { since: now }), fetchMs }
    }
    case 'loaded': {
      const since = state.libraries.get(event.slot)?.since ?? now
      const loaded = withLibrary(state, event.slot, { since, level: event.level })
      const memory = event.memory ?? state.memory
      return { ...loaded, loadMs: state.loadMs + now - since, ...(memory !== undefined && { memory }) }
    }
    case 'unloaded':
      return withLibrary(state, event.slot, undefined)
    case 'failed': {
      const fetched = state.files === 'fetching' ? fetchingEnded(state, now) : state
      const ended = event.slot === undefined ? fetched : withLibrary(fetched, event.slot, undefined)
      return { ...ended, failure: { error: event.error, at: now } }
    }
  }
}

function fetchingEnded(state: ContextState, now: number): ContextState {
  const { fetchingSince = now, bytesHeld: _, bytesTotal: __, ...rest } = state
  return { ...rest, files: 'absent', fetchMs: state.fetchMs + now - fetchingSince }
}

function withLibrary(state: ContextState, slot: number, library: LibraryState | undefined): ContextState {
  const libraries = new Map(state.libraries)
  if (library) libraries.set(slot, library)
  else libraries.delete(slot)
  return { ...state, libraries }
}

/** Where it is held: the highest level of all slots. */
export function levelOf({ files, libraries }: ContextState): Level {
  let highest = LEVELS.indexOf(files === 'disk' || files === 'left' ? 'disk' : 'absent')
  for (const { level } of libraries.values()) if (level) highest = Math.max(highest, LEVELS.indexOf(level))
  return LEVELS[highest]!
}

/** Slots that hold it loaded. */
export function loadedIn({ libraries }: ContextState): number {
  let slots = 0
  for (const { level } of libraries.values()) if (level) slots++
  return slots
}

export function isLoadedIn({ libraries }: ContextState, slot: number): boolean {
  return libraries.get(slot)?.level !== undefined
}

export function isWarming({ files, libraries }: ContextState): boolean {
  return files === 'fetching' || [...libraries.values()].some(({ level }) => !level)
}

/** A library of it may be started. */
export function canLoad({ files, failure }: ContextState): boolean {
  return (files === 'disk' || files === 'apart') && !failure
}

const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 60_000

/** Whether a context that the manager lists is to be brought up: not while it is, and not at once after it failed. */
export function shouldFetchNow({ files, attempts, failure }: ContextState, now: number): boolean {
  if (!failure) return files === 'absent' || files === 'left'
  return now - failure.at >= Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1))
}

/** What the manager is told of it. */
export function reportOf(state: ContextState, now: number): ContextReport {
  const {
    id,
    files,
    bytesHeld,
    bytesTotal,
    fetchingSince = now,
    libraries,
    memory,
    attempts,
    failure,
  } = state
  const warming = [...libraries.values()].filter(({ level }) => !level)
  const loading = warming.filter(({ fetching }) => !fetching)
  const bringing = warming.filter(({ fetching }) => fetching)
  const isFetching = files === 'fetching' || bringing.length > 0
  const doing = isFetching ? 'fetching' : loading.length > 0 ? 'loading' : undefined
  const loadedIn = [...libraries].flatMap(([slot, { level }]) => (level ? [slot] : []))
  const spent = (ms: number, { since }: LibraryState) => ms + now - since
  return {
    context: id,
    level: levelOf(state),
    ...(loadedIn.length > 0 && { loadedIn }),
    ...(doing && { doing }),
    ...(bytesHeld !== undefined && { bytesHeld }),
    ...(bytesTotal !== undefined && { bytesTotal }),
    fetchMs: bringing.reduce(spent, state.fetchMs + now - fetchingSince),
    loadMs: loading.reduce(spent, state.loadMs),
    ...(memory !== undefined && { memory }),
    attempts,
    ...(failure && { error: failure.error }),
  }
}
