import { type Batch, compact, gatherRows, isAligned, type Layout, step } from './batch.ts'
import { type Draft, type Drafter, NO_DRAFT } from './speculative-drafts.ts'
import type { Model } from '../graph/model.ts'
import { type BatchLimits, draftWidth } from './batch-sizes.ts'
import type { Abilities } from '../graph/batching-probe.ts'
import { bringScores, type End, type Row, type Writing, writeTokens } from '../answers/write-tokens.ts'

/*
 * Batches of rows that are being answered. Usually there is one, which all rows join; there are more where a model must
 * not mix some rows with others.
 */

export interface LaneOptions {
  readonly model: Model
  readonly abilities: Pick<Abilities, 'steps' | 'drafts'>
  readonly limits: Pick<BatchLimits, 'cached'>
  /** Most tokens of a sequence. */
  readonly maxPositions: number
  /** Sequences longer than this are computed in another way, and so apart from others. */
  readonly longAfter: number
}

interface Lane {
  batch: Batch
  writings: Writing[]
}

/** Rows that a pass failed with. */
export interface Failure {
  readonly rows: readonly Row[]
  readonly error: unknown
}

/** Most scores of a pass that writes several tokens of each row. */
const DRAFT_SCORES = 16 << 20

/** The lanes of a model, and what of its rows they write. */
export class Lanes {
  readonly #options: LaneOptions
  readonly #drafter: Drafter
  readonly #lanes = new Set<Lane>()
  /** Whether rows of different lengths may go on together. */
  readonly #joins: boolean

  constructor(options: LaneOptions, drafter: Drafter) {
    this.#options = options
    this.#drafter = drafter
    this.#joins = options.abilities.steps !== 'together'
  }

  /** Rows in all lanes. */
  get rows(): number {
    return [...this.#lanes].reduce((sum, { writings }) => sum + writings.length, 0)
  }

  /** Most tokens that an answer in them may have; 0 without any. */
  get longest(): number {
    return this.#all().reduce((most, { limit }) => Math.max(most, limit), 0)
  }

  #all(): Row[] {
    return [...this.#lanes].flatMap(({ writings }) => writings.map(({ row }) => row))
  }

  /** How many such rows can be remembered besides those that are. */
  roomFor(rows: readonly Row[]): number {
    const all = [...rows, ...this.#all()]
    const widest = all.reduce((most, { prompt, limit }) => Math.max(most, prompt.length + limit), 1)
    return Math.floor(this.#options.limits.cached / widest) - this.rows
  }

  /** Takes over a batch: those of its rows that have something to go on with. */
  async add(batch: Batch, writings: ReadonlyArray<Writing | undefined>): Promise<void> {
    const { model } = this.#options
    const open = compact(writings.length, (row) => !writings[row])
    const keys = new Set(open.map((row) => this.#keyOf(batch.lengths[row] as number)))
    const joined = [...keys].some((key) => this.#laneOf(key))
    if (keys.size !== 1 || joined) {
      await this.#place(batch, writings)
      return model.store.release(batch.state)
    }
    const layout = this.#layoutFor(batch.lengths[open[0] as number] as number, batch)
    const alone = await gatherRows(model, layout, [{ batch, rows: open }], batch)
    this.#lanes.add({ batch: alone, writings: open.map((row) => writings[row] as Writing) })
  }

  /** Writes one more token of each answer. Returns the rows that could not go on; they have left. */
  async step(end: End): Promise<Failure[]> {
    const failures: Failure[] = []
    for (const lane of [...this.#lanes]) {
      const open = new Set(lane.writings.map(({ row }) => row))
      try {
        await this.#stepLane(lane, (row, outcome) => {
          open.delete(row)
          end(row, outcome)
        })
      } catch (error) {
        failures.push({ rows: [...open], error })
      }
    }
    return failures
  }

  /** Which rows may go on together. */
  #keyOf(length: number): boolean {
    return this.#joins && length + 1 > this.#options.longAfter
  }

  #laneOf(key: boolean): Lane | undefined {
    return [...this.#lanes].find(
      ({ batch }) => this.#joins && this.#keyOf(batch.lengths[0] as number) === key,
    )
  }

  #layoutFor(length: number, { state }: Batch): Layout {
    const { abilities, maxPositions, longAfter } = this.#options
    return {
      side: abilities.steps === 'start' ? 'start' : 'end',
      widest: this.#keyOf(length) ? maxPositions : Math.min(longAfter, maxPositions),
      columns: this.#joins ? undefined : state.columns,
    }
  }

  /** Puts rows of a batch into the lanes where they belong. */
  async #place(batch: Batch, writings: ReadonlyArray<Writing | undefined>): Promise<void> {
    const open = [...writings.keys()].filter((row) => writings[row])
    const keys = Map.groupBy(open, (row) => this.#keyOf(batch.lengths[row] as number))
    for (const [key, rows] of keys) {
      const layout = this.#layoutFor(batch.lengths[rows[0] as number] as number, batch)
      const lane = this.#laneOf(key)
      const parts = [
        ...(lane ? [{ batch: lane.batch, rows: [...lane.batch.lengths.keys()] }] : []),
        { batch, rows },
      ]
      const joined = await gatherRows(this.#options.model, layout, parts, lane?.batch)
      const added = rows.map((row) => writings[row] as Writing)
      if (lane) {
        lane.batch = joined
        lane.writings.push(...added)
      } else this.#lanes.add({ batch: joined, writings: added })
    }
  }

  async #stepLane(lane: Lane, end: End): Promise<void> {
    const key = this.#keyOf((lane.batch.lengths[0] as number) + 1)
    this.#lanes.delete(lane)
    const { written, batch } = await this.#write(lane, end)
    const stays = (row: number) =>
      written[row] !== undefined && this.#keyOf(batch.lengths[row] as number) === key
    // What is too long for this lane by now goes on in another.
    await this.#place(
      batch,
      written.map((writing, row) => (stays(row) ? undefined : writing)),
    )
    await this.#keep(lane, batch, written, stays)
  }

  /** One pass: the answers that have something to go on with, and the batch with what was written. */
  async #write(
    { batch, writings }: Lane,
    end: End,
  ): Promise<{ written: (Writing | undefined)[]; batch: Batch }> {
    const { drafts, width } = this.#draftAll({ batch, writings })
    const before = writings.map(({ tokens }) => tokens.length)
    const guesses = drafts.map(({ tokens }) => tokens.slice(0, width - 1))
    const added = writings.map(({ tokens }, row) => [tokens.at(-1) as number, ...(guesses[row] ?? [])])
    const { scores, keep } = await step(this.#options.model, batch, added)
    await bringScores(writings, scores, guesses)
    const written = writings.map((writing, row) => {
      const goesOn = writeTokens(writing, (drafted) => scores.at(row, drafted), guesses[row] ?? [], end)
      this.#drafter.note(drafts[row] as Draft, writing.tokens[before[row] as number])
      if (!goesOn) this.#drafter.learn(writing.tokens)
      return goesOn ? writing : undefined
    })
    const counts = written.map((one, row) => (one ? one.tokens.length - (before[row] as number) : 0))
    return { written, batch: keep(counts) }
  }

  /** Has a lane go on with those rows of a batch that stay in it. */
  async #keep(
    lane: Lane,
    batch: Batch,
    written: readonly (Writing | undefined)[],
    stays: (row: number) => boolean,
  ): Promise<void> {
    const { model } = this.#options
    const order = compact(written.length, (row) => !stays(row))
    if (order.length === 0) return model.store.release(batch.state)
    const layout = this.#layoutFor(batch.lengths[order[0] as number] as number, batch)
    const settled =
      order.length === written.length &&
      batch.state.columns < layout.widest &&
      order.every((row) => isAligned(batch, row))
    lane.batch = settled ? batch : await gatherRows(model, layout, [{ batch, rows: order }], batch)
    lane.writings = order.map((row) => written[row] as Writing)
    this.#lanes.add(lane)
  }

  /** Tokens that may follow each row's, and how many the next pass should append, the known one included. */
  #draftAll({ batch, writings }: Lane): { drafts: Draft[]; width: number } {
    const { abilities, longAfter, maxPositions, model } = this.#options
    if (!abilities.drafts) return { drafts: writings.map(() => NO_DRAFT), width: 1 }
    const { columns } = batch.state
    const widest = columns < longAfter ? Math.min(longAfter, maxPositions) : maxPositions
    const drafts = writings.map(({ row, writer, tokens }) => {
      const most = Math.min(row.limit - tokens.length - 1, widest - columns - 1)
      return writer.atOnce ? this.#drafter.draft(row.prompt, tokens, most) : NO_DRAFT
    })
    const chances = drafts.map((draft) => draft.chances)
    const most = Math.floor(DRAFT_SCORES / (writings.length * model.graph.vocabSize))
    return { drafts, width: draftWidth(chances, most) }
  }
}
