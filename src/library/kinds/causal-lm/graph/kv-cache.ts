import type { Tensor } from 'onnxruntime-node'

/*
 * What a model remembers of rows: one tensor for each part of its state. Growing parts have one column for each token and
 * are as wide for all rows; where a row has fewer tokens, its other columns are padding.
 */

/** What is remembered of some rows. A state has one owner, who hands it on or releases it. */
export interface State {
  readonly rows: number
  /** Columns of the parts that grow. A state that has room beyond them may be given fewer: they become room. */
  readonly columns: number
  /** Columns that their tensors have: those beyond are room for more. */
  readonly capacity: number
  readonly tensors: readonly Tensor[]
}

/** Where a row of a new state comes from: `count` columns of a row, and where they go. */
export interface Pick {
  readonly source: State
  readonly row: number
  readonly from: number
  readonly to: number
  readonly count: number
}

/** Where states are kept: in memory, or on a device. */
export interface StateStore {
  /** Rows of which nothing is remembered yet. */
  blank(rows: number): State
  /**
   * A state of one row for each pick, `columns` wide, padding in zeros.
   *
   * @param base is used up: rows that stay where they were cost nothing
   * @param room columns by which it is about to grow
   */
  arrange(
    picks: readonly Pick[],
    columns: number,
    options: { readonly base?: State | undefined; readonly room?: number },
  ): Promise<State>
  /** Tensors that a pass may write to what it gives of its state; undefined where the runtime makes them. */
  room(state: State, width: number): readonly Tensor[] | undefined
  /**
   * The state after a pass of so many new columns.
   *
   * @param given by the pass: the whole state, or its new columns. Both states are used up.
   */
  advance(state: State, width: number, given: readonly Tensor[]): State
  /** Lets go of tensors that a pass was to write to, and did not. */
  discard(given: readonly Tensor[]): void
  release(state: State): void
}
