import type { TaskError } from '../protocol/task.ts'

/** Most kinds of error that are told apart; what comes beyond is counted only. */
const KINDS_MAX = 500
/** Characters of a message that tell its kind. */
const TELLING = 400

/** How often tasks failed in one way, and the first that did. */
export interface ErrorKind<Example> {
  tasks: number
  first: Example
}

/** Failures counted by kind. */
export interface ErrorCounts<Example> {
  kinds: Map<string, ErrorKind<Example>>
  /** Failures of kinds that are not told apart any more. */
  others: number
}

export const noErrors = <Example>(): ErrorCounts<Example> => ({ kinds: new Map(), others: 0 })

/**
 * What an error has in common with others like it: its name and message without what differs from task to task, which are
 * numbers and quoted texts.
 */
export function kindOf({ name, message }: TaskError): string {
  const telling = message
    .slice(0, TELLING)
    .replace(/"[^"]*"|'[^']*'|`[^`]*`|“[^”]*”/g, '“…”')
    .replace(/\b(0x)?[0-9a-f]*\d[0-9a-f]*\b/gi, 'N')
    .replace(/\d+/g, 'N')
  return `${name}: ${telling}`
}

/** Counts one more failure; `example` is kept if it is the first of its kind. */
export function noteError<Example>(
  counts: ErrorCounts<Example>,
  error: TaskError,
  example: () => Example,
): void {
  const kind = kindOf(error)
  const known = counts.kinds.get(kind)
  if (known) known.tasks++
  else if (counts.kinds.size < KINDS_MAX) counts.kinds.set(kind, { tasks: 1, first: example() })
  else counts.others++
}

/** The commonest kinds first, `most` of them. */
export function commonest<Example>({ kinds }: ErrorCounts<Example>, most: number): ErrorKind<Example>[] {
  return [...kinds.values()].toSorted((a, b) => b.tasks - a.tasks).slice(0, most)
}
