import type { LibrarySpec } from './context.ts'
import { pathsIn } from './placeholders.ts'

export type LibraryKindName = LibrarySpec['library']
type SpecOf<Kind extends LibraryKindName> = Extract<LibrarySpec, { library: Kind }>

/** What the rest of the system has to know of a kind of library, besides its schema and how it is loaded. */
interface LibraryKind<Kind extends LibraryKindName> {
  /** The bundles that a context's setup names. */
  bundles(setup: SpecOf<Kind>['setup']): string[]
  /** Calls that a library runs together at most. */
  together(spec: SpecOf<Kind>): number
  /** Whether it ends calls that run within a step when they are cancelled, and need not be ended itself. */
  endsCalls: boolean
  /** Whether it tells others, whom it has do its calls, of their traces. */
  passesTraces?: boolean
}

/** Calls for a server before it is known how many it is good for. */
const SERVER_CALLS = 16

/** All kinds. A new one needs a line here, one in `LibrarySpec`, and one where the library process loads it. */
const kinds: { [Kind in LibraryKindName]: LibraryKind<Kind> } = {
  'causal-lm': {
    bundles: ({ model }) => [model],
    together: ({ setup }) => setup.maxBatch,
    endsCalls: true,
  },
  module: {
    bundles: ({ bundle }) => [bundle],
    together: ({ functions }) => largestBatch(Object.values(functions)),
    endsCalls: false,
  },
  python: {
    bundles: ({ bundle, python }) => [bundle, ...(python && 'bundle' in python ? [python.bundle] : [])],
    together: ({ functions }) => largestBatch(Object.values(functions)),
    endsCalls: false,
  },
  server: {
    bundles: ({ command }) => pathsIn(command).flatMap((path) => /^bundles\.(.*)$/.exec(path)?.[1] ?? []),
    together: ({ setup }) => setup.concurrency ?? SERVER_CALLS,
    endsCalls: true,
    passesTraces: true,
  },
}

/** A context's kind, which takes specifications such as this one. */
const kindOf = (spec: LibrarySpec) => kinds[spec.library] as LibraryKind<LibraryKindName>

/** The bundles that a context's setup names. */
export const bundlesOf = (spec: LibrarySpec): string[] => kindOf(spec).bundles(spec.setup)

/** Calls that a library of a context runs together at most. */
export const callsTogether = (spec: LibrarySpec): number => kindOf(spec).together(spec)

/** Whether a context's library ends calls that run within a step when they are cancelled. */
export const endsCalls = (spec: LibrarySpec): boolean => kindOf(spec).endsCalls

/** Whether a context's library has a use for the traces of its calls. */
export const passesTraces = (spec: LibrarySpec): boolean => kindOf(spec).passesTraces ?? false

function largestBatch(functions: readonly { batch?: number | undefined }[]): number {
  return Math.max(...functions.map(({ batch = 1 }) => batch))
}
