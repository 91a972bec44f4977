import type { Cache, Model } from './model.ts'
import type { Logits } from './sampling.ts'

/*
 * The layout of a batch. Columns are positions in the cache, the same for all rows: first a shared prefix, if there is
 * one, then padding where a row is shorter than the longest, then the rest of the row's prompt, then what it generates.
 */

/** The start that all rows of a batch have in common, and what the model made of it: a cache of one row. */
export interface Prefix {
  readonly tokens: readonly number[]
  readonly cache: Cache
}

/** Rows that go through the model together, and the model's memory of them. */
export interface Batch {
  /** Columns of padding in each row. */
  readonly padding: readonly number[]
  /** Columns before the padding. */
  readonly shared: number
  readonly cache: Cache
}

/** A batch after a pass, with the scores for the next token of each row. */
export interface Step {
  readonly batch: Batch
  readonly logits: (row: number) => Logits
}

/** Puts whole prompts through the model, all of which begin with `prefix`. Shorter ones are padded. */
export async function startBatch(
  model: Model,
  prompts: ReadonlyArray<readonly number[]>,
  prefix?: Prefix,
): Promise<Step> {
  const shared = prefix?.tokens.length ?? 0
  const rows = prompts.length
  const width = Math.max(...prompts.map((prompt) => prompt.length)) - shared
  const padding = prompts.map((prompt) => width - (prompt.length - shared))
  const tokens = new Int32Array(rows * width)
  const positions = new Int32Array(rows * width)
  prompts.forEach((prompt, row) => {
    const start = row * width + (padding[row] as number) - shared
    for (let i = shared; i < prompt.length; i++) {
      tokens[start + i] = prompt[i] as number
      positions[start + i] = i
    }
  })
  const { logits, cache } = await model.forward({
    rows,
    width,
    tokens,
    positions,
    mask: toMask(padding, shared, shared + width),
    cache: prefix && model.pickRows(prefix.cache, Array<number>(rows).fill(0)),
  })
  return { batch: { padding, shared, cache }, logits }
}

/** Appends one token to each row. */
export async function extendBatch(model: Model, batch: Batch, tokens: readonly number[]): Promise<Step> {
  const { padding, shared } = batch
  const columns = batch.cache.positions
  const { logits, cache } = await model.forward({
    rows: tokens.length,
    width: 1,
    tokens,
    positions: padding.map((count) => columns - count),
    mask: toMask(padding, shared, columns + 1),
    cache: batch.cache,
  })
  return { batch: { padding, shared, cache }, logits }
}

/** A batch of only the given rows. */
export function keepRows(model: Model, batch: Batch, rows: readonly number[]): Batch {
  return {
    padding: rows.map((row) => batch.padding[row] as number),
    shared: batch.shared,
    cache: model.pickRows(batch.cache, rows),
  }
}

function toMask(padding: readonly number[], shared: number, columns: number): Uint8Array {
  const mask = new Uint8Array(padding.length * columns).fill(1)
  padding.forEach((count, row) => {
    const start = row * columns + shared
    mask.fill(0, start, start + count)
  })
  return mask
}
