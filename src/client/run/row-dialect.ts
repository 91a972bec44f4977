import type { ResultRow } from '../../protocol/client.ts'
import type { ContextSpec } from '../../protocol/contexts/context.ts'

/** Rows that are requests in a language of their own, whose results are answers in the same one. */
export interface Dialect {
  /** The function that answers them. */
  readonly function: string
  /** The field of a row by which it is known. */
  readonly keyField: string
  /** The input of the task that stands for a row. Throws what is wrong with it. */
  toInput: (row: unknown) => unknown
  /** A result as the row of an output, or of one for errors. */
  toRow: (result: ResultRow, row: unknown) => { isError: boolean; fields: Readonly<Record<string, unknown>> }
}

/** The dialect in which a context answers rows such as this one. @throws if it does not */
export type OpenDialect = (context: ContextSpec, row: unknown) => Dialect
