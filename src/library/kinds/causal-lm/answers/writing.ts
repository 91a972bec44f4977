import type { Call, CallOutcome } from '../../../runtime/library-kind.ts'
import type { Writer } from './answer-writer.ts'
import type { RowLogits } from '../batches/batch.ts'

/** A call that is ready to run. */
export interface Row {
  readonly call: Call
  readonly prompt: readonly number[]
  /** Most tokens of its answer. */
  readonly limit: number
  startWriter(): Writer
}

/** A row and its answer, as far as it is written. */
export interface Writing {
  readonly row: Row
  readonly writer: Writer
  /** The token written last, which the model has not seen yet. */
  readonly token: number
}

/** Hears how rows end, each once. */
export type End = (row: Row, outcome: CallOutcome) => void

/** Begins the answers of rows with what follows their prompts. */
export function startWriting(rows: readonly Row[], logits: RowLogits, end: End): (Writing | undefined)[] {
  const writings = rows.map((row) => ({ row, writer: row.startWriter(), token: -1 }))
  return writeTokens(writings, logits, end)
}

/** Writes the next token of each answer, or ends it. Those that have ended leave a gap. */
export function writeTokens(
  writings: readonly Writing[],
  logits: RowLogits,
  end: End,
): (Writing | undefined)[] {
  return writings.map(({ row, writer }, i) => {
    try {
      const token = writer.write(logits(i))
      if (token !== undefined) return { row, writer, token }
      end(row, { value: writer.answer() })
    } catch (error) {
      end(row, { error })
    }
    return undefined
  })
}
