import type { Model } from '../graph/model.ts'
import type { ColumnScores, Pass } from '../graph/forward-pass.ts'
import type { PassScores } from '../graph/scores.ts'
import type { Pick, State } from '../graph/kv-cache.ts'

/*
 * Rows of tokens that go through the model together. Each row's tokens lie side by side in the columns of the state, at
 * their end or at their start: a model that counts columns, as sliding windows do, counts right within a row.
 */

/** Where the tokens of a row lie in columns that are wider than the row is long. */
export type Side = 'end' | 'start'

/** Rows, and what the model remembers of them. A batch has one owner, who hands it on or releases it. */
export interface Batch {
  readonly side: Side
  /** Tokens of each row so far. */
  readonly lengths: readonly number[]
  /** The column behind each row's last, where rows do not all end with the last column. Only at the side `end`. */
  readonly ends?: readonly number[] | undefined
  readonly state: State
}

/** A prompt, and a start of it that the model has seen already: a batch of one row. */
export interface Start {
  readonly tokens: readonly number[]
  readonly seen?: Batch | undefined
  /** Whether what was seen is for this prompt alone, and is used up with it; otherwise it stays as it is. */
  readonly own?: boolean
}

/** Scores for the token that follows each row. */
export type RowScores = PassScores<[row: number]>

/** Tokens of a prompt that a pass has to compute at least. */
export function unseen({ tokens, seen }: Start): number {
  return tokens.length - (seen?.lengths[0] ?? 0)
}

/**
 * Puts prompts through the model.
 *
 * Rows at the end of their columns have as many new tokens each, the last of their prompts, so that padding is in front
 * of all: of a start that was seen, a row takes what comes before those. Rows at the start need starts of one length.
 */
export async function readPrompts(model: Model, side: Side, starts: readonly Start[]) {
  const { pass, lengths } = await openPass(model, side, starts)
  const seen = await model.forward(pass)
  const batch: Batch = { side, lengths, state: seen.state }
  return { batch, scores: lastScores(seen.scores, pass, side, starts) }
}

/** The same for rows that end there: nothing is remembered of them, which is cheaper. */
export async function scorePrompts(model: Model, side: Side, starts: readonly Start[]): Promise<RowScores> {
  const { pass } = await openPass(model, side, starts)
  return lastScores(await model.score(pass), pass, side, starts)
}

function lastScores(
  { at, bring }: ColumnScores,
  pass: Pass,
  side: Side,
  starts: readonly Start[],
): RowScores {
  const last = (row: number) => (side === 'end' ? pass.width : unseen(starts[row] as Start)) - 1
  return { at: (row) => at(row, last(row)), bring }
}

async function openPass(
  model: Model,
  side: Side,
  starts: readonly Start[],
): Promise<{ pass: Pass; lengths: number[] }> {
  const lengths = starts.map(({ tokens }) => tokens.length)
  const width = greatest(starts.map(unseen))
  const kept = starts.map((start) =>
    side === 'end' ? Math.max(0, start.tokens.length - width) : start.tokens.length - unseen(start),
  )
  const before = greatest(kept)
  const state = await takeStarts(model, { side, starts, kept, width })
  const rows = starts.length
  const columns = before + width
  const tokens = new Int32Array(rows * width)
  const positions = new Int32Array(rows * width)
  const mask = new Uint8Array(rows * columns)
  starts.forEach((start, row) => {
    const from = kept[row] as number
    const added = start.tokens.length - from
    const first = row * width + (side === 'end' ? width - added : 0)
    for (let i = 0; i < added; i++) {
      tokens[first + i] = start.tokens[from + i] as number
      positions[first + i] = from + i
    }
    const end = row * columns + (side === 'end' ? columns : start.tokens.length)
    mask.fill(1, end - start.tokens.length, end)
  })
  return {
    lengths,
    pass: { rows, width, tokens, positions, mask, state, scored: side === 'end' ? 1 : width },
  }
}

/** Columns of an answer that there is room for from the start, so that short ones are not moved. */
const ROOM = 8

/** What was seen of each prompt, as far as it is used: `kept` tokens. */
async function takeStarts(
  model: Model,
  {
    side,
    starts,
    kept,
    width,
  }: { side: Side; starts: readonly Start[]; kept: readonly number[]; width: number },
): Promise<State> {
  const known = starts.find(({ seen }) => seen)?.seen
  const columns = greatest(kept)
  if (!known || columns === 0) return model.store.blank(starts.length)
  const picks = starts.map(({ seen = known }, row): Pick => {
    const count = kept[row] as number
    const to = side === 'end' ? columns - count : 0
    return { source: seen.state, row: 0, from: firstColumn(seen, 0), to, count }
  })
  const taken = await model.store.arrange(picks, columns, { room: width + ROOM })
  for (const { seen, own } of starts) if (seen && own) model.store.release(seen.state)
  return taken
}

/**
 * Reads a long prompt piece by piece, but for its end: scores of all its tokens at once may take more memory than the
 * model itself.
 *
 * @param most tokens that may be left, and that go through the model at once
 */
export async function readAhead(
  model: Model,
  { tokens, seen, own = false }: Start,
  most: number,
): Promise<Start> {
  const start: Start = { tokens, seen, own }
  if (unseen(start) <= most) return start
  const next = tokens.slice(0, tokens.length - unseen(start) + most)
  const { batch } = await readPrompts(model, 'end', [{ ...start, tokens: next }])
  return readAhead(model, { tokens, seen: batch, own: true }, most)
}

/** What a pass made of tokens that were appended to rows. */
export interface Step {
  /** Scores for what follows one of the tokens that were appended to a row. */
  readonly scores: ColumnScores
  /** The batch with so many of each row's tokens, at least one of each that goes on: the others are forgotten. Used once. */
  readonly keep: (counts: readonly number[]) => Batch
}

/**
 * Appends tokens to each row: one, or more where the model has shown that some may be taken back.
 *
 * @param batch of rows that all end with the last column, if any is to have more than one
 */
export async function step(
  model: Model,
  { side, lengths, state }: Batch,
  added: ReadonlyArray<readonly number[]>,
): Promise<Step> {
  const rows = lengths.length
  const width = greatest(added.map((tokens) => tokens.length))
  const columns = state.columns + width
  const tokens = new Int32Array(rows * width)
  const positions = new Int32Array(rows * width)
  const mask = new Uint8Array(rows * columns)
  lengths.forEach((length, row) => {
    const own = added[row] as readonly number[]
    for (let i = 0; i < width; i++) positions[row * width + i] = length + Math.min(i, own.length - 1)
    tokens.set(own, row * width)
    const from = row * columns + (side === 'end' ? state.columns - length : 0)
    mask.fill(1, from, from + length + own.length)
  })
  const seen = await model.forward({ rows, width, tokens, positions, mask, state, scored: width })
  return {
    scores: seen.scores,
    keep(counts) {
      const longer = lengths.map((length, row) => length + (counts[row] as number))
      if (width === 1) return { side, lengths: longer, state: seen.state }
      const ends = counts.map((count) => state.columns + count)
      return { side, lengths: longer, ends, state: { ...seen.state, columns: greatest(ends) } }
    },
  }
}

/** Columns that are nothing but padding are left out once they are this share, for that takes a copy of the rest. */
const IDLE_SHARE = 0.25

/** Where the rows of a new batch lie. */
export interface Layout {
  readonly side: Side
  /** Most columns that the next pass may have. */
  readonly widest: number
  /** Columns, if rows must stay in theirs. */
  readonly columns?: number | undefined
}

/**
 * Makes a batch of rows of others, which stay as they are.
 *
 * @param base is used up: its rows cost nothing where they stay in place; see {@link compact}
 */
export async function gatherRows(
  model: Model,
  { side, widest, columns: given }: Layout,
  parts: ReadonlyArray<{ readonly batch: Batch; readonly rows: readonly number[] }>,
  base?: Batch,
): Promise<Batch> {
  const lengths = parts.flatMap(({ batch, rows }) => rows.map((row) => batch.lengths[row] as number))
  const needed = greatest(lengths)
  const wide = base?.state.columns ?? 0
  const roomy = needed <= wide && wide - needed <= IDLE_SHARE * wide && wide < widest
  const columns = given ?? (roomy ? wide : needed)
  const picks = parts.flatMap(({ batch, rows }) =>
    rows.map((row): Pick => {
      const count = batch.lengths[row] as number
      const to = side === 'end' ? columns - count : 0
      return { source: batch.state, row, from: firstColumn(batch, row), to, count }
    }),
  )
  return { side, lengths, state: await model.store.arrange(picks, columns, { base: base?.state }) }
}

/** The rows that are left, in an order in which few change places: the last ones fill the gaps. */
export function compact(rows: number, ended: (row: number) => boolean): number[] {
  const kept = Array.from({ length: rows }, (_, row) => row).filter((row) => !ended(row))
  const gaps = Array.from({ length: kept.length }, (_, row) => row).filter(ended)
  const order = Array.from({ length: kept.length }, (_, row) => row)
  const movers = kept.filter((row) => row >= kept.length)
  gaps.forEach((gap, i) => (order[gap] = movers[i] as number))
  return order
}

/** Whether a row lies where passes expect it. */
export function isAligned({ ends, state }: Batch, row: number): boolean {
  return (ends?.[row] ?? state.columns) === state.columns
}

function firstColumn({ side, lengths, ends, state }: Batch, row: number): number {
  return side === 'end' ? (ends?.[row] ?? state.columns) - (lengths[row] as number) : 0
}

function greatest(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0)
}
