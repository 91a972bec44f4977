import type { Call, CallOutcome } from '../../../runtime/library-kind.ts'
import type { Writer } from './answer-writer.ts'
import type { RowScores } from '../batches/batch.ts'
import type { PassScores, TokenScores } from '../graph/scores.ts'

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
export async function startWriting(
  rows: readonly Row[],
  scores: RowScores,
  end: End,
): Promise<(Writing | undefined)[]> {
  const writings = rows.map((row): Writing => ({ row, writer: row.startWriter(), tokens: [] }))
  await bringScores(writings, scores)
  return writings.map((writing, row) =>
    writeTokens(writing, () => scores.at(row), [], end) ? writing : undefined,
  )
}

/**
 * Has scores brought from a device if an answer needs more of them than the likeliest tokens.
 *
 * @param drafts of each row's next tokens: what follows one counts if the likeliest are as drafted so far
 */
export async function bringScores(
  writings: readonly Writing[],
  { at, bring }: PassScores<[row: number, drafted: number]>,
  drafts: ReadonlyArray<readonly number[]> = [],
): Promise<void> {
  const likeliest = (row: number) => {
    const bests = [at(row, 0).best]
    for (const drafted of drafts[row] ?? []) {
      if (bests.at(-1) !== drafted) break
      bests.push(at(row, bests.length).best)
    }
    return bests
  }
  if (bring && !writings.every(({ writer }, row) => writer.suffices(likeliest(row)))) await bring()
}

/**
 * Writes the next tokens of an answer: one, and one more for each token of a draft that is written so.
 *
 * @param scores of what follows the token written last, and so many of the draft
 * @returns whether the answer goes on
 */
export function writeTokens(
  { row, writer, tokens }: Writing,
  scores: (drafted: number) => TokenScores,
  draft: readonly number[],
  end: End,
): boolean {
  try {
    for (let drafted = 0; ; drafted++) {
      const token = writer.write(scores(drafted))
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
