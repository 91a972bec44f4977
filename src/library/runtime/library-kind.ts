import type { BlobRef } from '../../protocol/blob.ts'
import type { JsonValue } from '../../protocol/primitives.ts'
import type { ToLibrary } from '../../protocol/library.ts'
import { ContextFilesError } from '../../common/task-errors.ts'

/*
 * What every kind of library is: it loads a context once, then runs windows of calls in it. A new kind implements
 * `Load`, has its line in protocol/contexts/library-traits.ts and in kinds/load-context.ts, and must pass the suite in test/library/kinds.
 */

export type Setup = Extract<ToLibrary, { type: 'setup' }> & {
  /** How many threads of this process load the same, and share its memory. Default: one. */
  readonly sharedBy?: number
}

/** One call as the worker sent it. */
export interface Call {
  readonly id: number
  readonly input: JsonValue
  /** Its span, if the kind passes traces on. */
  readonly traceparent?: string | undefined
}

/** What became of a call: what its function returned, or threw. */
export type CallOutcome = (
  { value: unknown; blobs?: readonly BlobRef[] | undefined } | { error: unknown }
) & {
  /** The end of what it printed. */
  log?: string | undefined
}

/** Where a kind says which calls it runs and how they ended. */
export interface CallReporter {
  /**
   * Announces calls that are about to run. Resolves once the worker can know of it, so that a crash is blamed on the
   * right calls, with those of them that are still wanted: run these and no others.
   */
  begin(calls: readonly Call[]): Promise<Call[]>
  /** Hands in how one call ended. To be called once for each call that began. */
  end(call: Call, outcome: CallOutcome): void
  /** Says how far calls are that have begun. May be called as often as one likes. */
  progress(calls: readonly Call[], done: number, total: number | undefined): void
  /** Gives a part of a call's value ahead of it. The value says everything again: parts may be lost. */
  part(call: Call, part: unknown): void
  /** Whether a call that runs is no longer wanted, so that it may end early, with whatever outcome. */
  isCancelled(call: Call): boolean
  /** Aborts when {@link isCancelled} turns true. */
  signal(call: Call): AbortSignal
}

/**
 * Runs one function on a window of calls, in whatever order and batches suit it: each is begun, then ended. What goes
 * wrong with calls is their outcome; a throw is a fault of the kind itself and ends the process.
 */
export type RunFunction = (window: readonly Call[], reporter: CallReporter) => Promise<void>

/** A context held loaded in this process. */
export interface LoadedContext {
  /** `device` if an accelerator holds it. */
  readonly level: 'memory' | 'device'
  readonly functions: ReadonlyMap<string, RunFunction>
  /** How many windows it runs beside each other, of one call each or of its share of those that wait. Default: one window. */
  readonly lanes?: { readonly count: number; readonly calls: 'one' | 'share' }
  /** Resolves with the reason if what holds it is another process, and that has gone. */
  readonly lost?: Promise<Error>
  close(): Promise<void>
}

export type Load = (setup: Setup) => Promise<LoadedContext>

/** The folder of one of the context's bundles. */
export function bundleFolder(setup: Setup, name: string): string {
  const folder = setup.bundles[name]
  if (folder !== undefined) return folder
  const known = Object.keys(setup.bundles).join(', ') || 'none'
  throw new ContextFilesError(`the context names a bundle "${name}" it does not have; its bundles: ${known}`)
}
