/** One row of an input as a JSON value, where integers beyond 2^53 may be bigints or keep their text. */
export interface Row {
  /** What it is known by if it has no id: its line in JSONL, elsewhere its place among the rows, from 1. */
  readonly number: number
  /** Where it is, for messages: `line 3`. */
  readonly place: string
  /** Fields by name; a string for a row that is one text. */
  readonly value: unknown
}

/** A row that is none, and why. */
export interface BadRow {
  readonly place: string
  readonly reason: string
}
