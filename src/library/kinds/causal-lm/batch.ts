import type { Cache, Model, Pass } from './model.ts'
import type { Logits } from './sampling.ts'

/*
 * Rows of tokens that go through the model together. Columns are positions in the cache and the same for all rows: where
 * a row has nothing to add, its column is padding, which the mask hides and which positions do not count.
 */

/** Rows, and the model's memory of them. */
export interface Batch {
  /** Tokens of each row so far. */
  readonly lengths: readonly number[]
  /** For each row, which columns of the cache hold one of its tokens (1), and which only padding (0). */
  readonly mask: Uint8Array
  /** Undefined while there are no columns. */
  readonly cache: Cache | undefined
}

/** Scores for the token that follows each row. */
export type RowLogits = (row: number) => Logits

export function emptyBatch(rows: number): Batch {
  return { lengths: Array<number>(rows).fill(0), mask: new Uint8Array(0), cache: undefined }
}

/** Appends tokens to each row, at least one. */
export async function extendBatch(
  model: Model,
  batch: Batch,
  additions: ReadonlyArray<readonly number[]>,
): Promise<{ batch: Batch; logits: RowLogits }> {
  const pass = toPass(batch, additions)
  const { logits, cache } = await model.forward(pass)
  const lengths = additions.map((added, row) => (batch.lengths[row] as number) + added.length)
  return { batch: { lengths, mask: pass.mask, cache }, logits }
}

/** The same for rows that end there: nothing is remembered of them, which is cheaper. */
export function scoreBatch(
  model: Model,
  batch: Batch,
  additions: ReadonlyArray<readonly number[]>,
): Promise<RowLogits> {
  return model.score(toPass(batch, additions))
}

/** A batch of the given rows, in that order; a row may be taken more than once. */
export function takeRows(model: Model, { lengths, mask, cache }: Batch, rows: readonly number[]): Batch {
  const columns = mask.length / lengths.length
  const taken = new Uint8Array(rows.length * columns)
  rows.forEach((row, i) => taken.set(mask.subarray(row * columns, (row + 1) * columns), i * columns))
  return {
    lengths: rows.map((row) => lengths[row] as number),
    mask: taken,
    cache: cache && model.takeRows(cache, rows),
  }
}

function toPass(batch: Batch, additions: ReadonlyArray<readonly number[]>): Pass & { mask: Uint8Array } {
  const rows = additions.length
  const width = Math.max(...additions.map((added) => added.length))
  const before = batch.mask.length / rows
  const columns = before + width
  const tokens = new Int32Array(rows * width)
  const positions = new Int32Array(rows * width)
  const mask = new Uint8Array(rows * columns)
  additions.forEach((added, row) => {
    const padding = width - added.length
    mask.set(batch.mask.subarray(row * before, (row + 1) * before), row * columns)
    mask.fill(1, row * columns + before + padding, (row + 1) * columns)
    const start = row * width + padding
    const length = batch.lengths[row] as number
    for (let i = 0; i < added.length; i++) {
      tokens[start + i] = added[i] as number
      positions[start + i] = length + i
    }
  })
  return { rows, width, tokens, positions, mask, cache: batch.cache }
}
