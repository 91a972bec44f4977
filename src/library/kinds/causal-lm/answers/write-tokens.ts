import type { Call, CallOutcome } from '../../../runtime/library-kind.ts'
import type { Writer } from './answer-writer.ts'
import type { Logits } from './sampling.ts'
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
  /** What is written so far. The model has not seen the last of it yet. */
  readonly tokens: number[]
}

/** Hears how rows end, each once. */
export type End = (row: Row, outcome: CallOutcome) => void

/** Begins the answers of rows with what follows their prompts. Those that have ended leave a gap. */
export function startWriting(rows: readonly Row[], logits: RowLogits, end: End): (Writing | undefined)[] {
  return rows.map((row, i) => {
    const writing = { row, writer: row.startWriter(), tokens: [] }
    return writeTokens(writing, () => logits(i), [], end) ? writing : undefined
  })
}

/**
 * Writes the next tokens of an answer: one, and one more for each token of a draft that is written so.
 *
 * @param logits scores of what follows the token written last, and so many of the draft
 * @returns whether the answer goes on
 */
export function writeTokens(
  { row, writer, tokens }: Writing,
  logits: (drafted: number) => Logits,
  draft: readonly number[],
  end: End,
): boolean {
  try {
    for (let drafted = 0; ; drafted++) {
      const token = writer.write(logits(drafted))
      if (token === undefined) break
      tokens.push(token)
      if (token !== draft[drafted]) return true
    }
    end(row, { value: writer.answer() })
  } catch (error) {
    end(row, { error })
  }
  return false
}
