import type { Call, CallOutcome, CallReporter } from '../../runtime/library-kind.ts'
import type { Writer } from './answer.ts'
import { extendBatch, type RowLogits, scoreBatch, takeRows } from './batch.ts'
import type { Model } from './model.ts'
import type { Prefix } from './prefix.ts'

/** A call that is ready to run. */
export interface Row {
  readonly call: Call
  readonly prompt: readonly number[]
  startWriter(): Writer
}

/** A row and its answer, as far as it is written. */
interface Writing {
  readonly row: Row
  readonly writer: Writer
  ended: boolean
}

type End = (row: Row, outcome: CallOutcome) => void

/** Rows that have ended stay in their batch until they are this share of it: leaving them out takes a copy of the rest. */
const ENDED_SHARE = 0.25
/** Looking at first tokens alone pays as long as no more rows than this share need others; a few are no proof. */
const UNDECIDED_SHARE = 0.1
const UNDECIDED_FEW = 16

/**
 * Makes a function that runs rows together until each has its answer. All of them begin with the prefix it is given.
 *
 * @param brief the first token may be all of an answer. As long as it usually is, no cache is asked for to go on from,
 *   and the few rows that need it are begun again.
 */
export function createRunner(
  model: Model,
  brief: boolean,
): (rows: readonly Row[], prefix: Prefix, reporter: CallReporter) => Promise<void> {
  let peeking = brief
  let peeked = 0
  let undecided = 0
  return run

  /** Rows that a batch fails with, for want of memory perhaps, are tried again in halves. */
  async function run(rows: readonly Row[], prefix: Prefix, reporter: CallReporter): Promise<void> {
    const left = new Set(rows)
    const end: End = (row, outcome) => {
      left.delete(row)
      reporter.end(row.call, outcome)
    }
    try {
      if (peeking && rows.length > 0) {
        await writeFirstTokens(model, rows, prefix, end)
        peeked += rows.length
        undecided += left.size
        peeking = undecided <= UNDECIDED_FEW + UNDECIDED_SHARE * peeked
      }
      if (left.size > 0) await writeAnswers(model, [...left], prefix, end)
    } catch (error) {
      const failed = [...left]
      if (failed.length === 1) return failed.forEach((row) => end(row, { error }))
      const half = Math.ceil(failed.length / 2)
      await run(failed.slice(0, half), prefix, reporter)
      await run(failed.slice(half), prefix, reporter)
    }
  }
}

async function writeFirstTokens(model: Model, rows: readonly Row[], prefix: Prefix, end: End): Promise<void> {
  const { batch, additions } = begin(model, rows, prefix)
  advance(startAll(rows), await scoreBatch(model, batch, additions), end)
}

async function writeAnswers(model: Model, rows: readonly Row[], prefix: Prefix, end: End): Promise<void> {
  let writings = startAll(rows)
  let { batch, additions } = begin(model, rows, prefix)
  for (;;) {
    const seen = await extendBatch(model, batch, additions)
    const tokens = advance(writings, seen.logits, end)
    const open = [...writings.keys()].filter((i) => !writings[i]?.ended)
    if (open.length === 0) return
    const crowded = open.length <= (1 - ENDED_SHARE) * writings.length
    const kept = crowded ? open : [...writings.keys()]
    batch = crowded ? takeRows(model, seen.batch, open) : seen.batch
    writings = kept.map((i) => writings[i] as Writing)
    additions = kept.map((i) => [tokens[i] as number])
  }
}

/** A batch of what rows share, and what each adds to it. */
function begin(model: Model, rows: readonly Row[], { tokens, batch }: Prefix) {
  return {
    batch: takeRows(model, batch, Array<number>(rows.length).fill(0)),
    additions: rows.map(({ prompt }): readonly number[] => prompt.slice(tokens.length)),
  }
}

function startAll(rows: readonly Row[]): Writing[] {
  return rows.map((row) => ({ row, writer: row.startWriter(), ended: false }))
}

/** Writes the next token of each answer, or ends it. Returns the tokens; any will do for an answer that has ended. */
function advance(writings: readonly Writing[], logits: RowLogits, end: End): number[] {
  return writings.map((writing, i) => {
    if (writing.ended) return 0
    try {
      const token = writing.writer.write(logits(i))
      if (token !== undefined) return token
      end(writing.row, { value: writing.writer.answer() })
    } catch (error) {
      end(writing.row, { error })
    }
    writing.ended = true
    return 0
  })
}
