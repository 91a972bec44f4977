import { type Batch, compact, gatherRows, isAligned, type Layout, step } from './batch.ts'
import { type Draft, type Drafter, NO_DRAFT } from './drafts.ts'
import type { Model } from '../graph/model.ts'
import { type BatchLimits, draftWidth } from './plan.ts'
import type { Abilities } from '../graph/probe.ts'
import { type End, type Row, type Writing, writeTokens } from '../answers/writing.ts'

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

export interface Lanes {
  /** Rows in all lanes. */
  readonly rows: number
  /** How many such rows can be remembered besides those that are. */
  roomFor(rows: readonly Row[]): number
  /** Most tokens that an answer in them may have; 0 without any. */
  readonly longest: number
  /** Takes over a batch: those of its rows that have something to go on with. */
  add(batch: Batch, writings: ReadonlyArray<Writing | undefined>): Promise<void>
  /** Writes one more token of each answer. Returns the rows that could not go on; they have left. */
  step(end: End): Promise<Failure[]>
}

export function createLanes(
  { model, abilities, limits, maxPositions, longAfter }: LaneOptions,
  drafter: Drafter,
): Lanes {
  const lanes = new Set<Lane>()
  const side = abilities.steps === 'start' ? 'start' : 'end'
  const count = () => [...lanes].reduce((sum, { writings }) => sum + writings.length, 0)
  const joins = abilities.steps !== 'together'
  /** Which rows may go on together. */
  const keyOf = (length: number) => joins && length + 1 > longAfter
  const layoutFor = (length: number, { state }: Batch): Layout => ({
    side,
    widest: keyOf(length) ? maxPositions : Math.min(longAfter, maxPositions),
    columns: joins ? undefined : state.columns,
  })

  return {
    get rows() {
      return count()
    },
    get longest() {
      const limits = [...lanes].flatMap(({ writings }) => writings.map(({ row }) => row.limit))
      return limits.reduce((most, limit) => Math.max(most, limit), 0)
    },
    roomFor(rows) {
      const all = [...rows, ...[...lanes].flatMap(({ writings }) => writings.map(({ row }) => row))]
      const widest = all.reduce((most, { prompt, limit }) => Math.max(most, prompt.length + limit), 1)
      return Math.floor(limits.cached / widest) - count()
    },
    async add(batch, writings) {
      const open = compact(writings.length, (row) => !writings[row])
      const keys = new Set(open.map((row) => keyOf(batch.lengths[row] as number)))
      const joined = [...keys].some((key) => laneOf(key))
      if (keys.size !== 1 || joined) {
        await place(batch, writings)
        return model.store.release(batch.state)
      }
      const layout = layoutFor(batch.lengths[open[0] as number] as number, batch)
      const alone = await gatherRows(model, layout, [{ batch, rows: open }], batch)
      lanes.add({ batch: alone, writings: open.map((row) => writings[row] as Writing) })
    },
    async step(end) {
      const failures: Failure[] = []
      for (const lane of [...lanes]) {
        const open = new Set(lane.writings.map(({ row }) => row))
        try {
          await stepLane(lane, (row, outcome) => {
            open.delete(row)
            end(row, outcome)
          })
        } catch (error) {
          failures.push({ rows: [...open], error })
        }
      }
      return failures
    },
  }

  function laneOf(key: boolean): Lane | undefined {
    return [...lanes].find((one) => joins && keyOf(one.batch.lengths[0] as number) === key)
  }

  /** Puts rows of a batch into the lanes where they belong. */
  async function place(batch: Batch, writings: ReadonlyArray<Writing | undefined>): Promise<void> {
    const open = [...writings.keys()].filter((row) => writings[row])
    const keys = Map.groupBy(open, (row) => keyOf(batch.lengths[row] as number))
    for (const [key, rows] of keys) {
      const length = batch.lengths[rows[0] as number] as number
      const lane = laneOf(key)
      const parts = [
        ...(lane ? [{ batch: lane.batch, rows: [...lane.batch.lengths.keys()] }] : []),
        { batch, rows },
      ]
      const joined = await gatherRows(model, layoutFor(length, batch), parts, lane?.batch)
      const added = rows.map((row) => writings[row] as Writing)
      if (lane) {
        lane.batch = joined
        lane.writings.push(...added)
      } else lanes.add({ batch: joined, writings: added })
    }
  }

  async function stepLane(lane: Lane, end: End): Promise<void> {
    const key = keyOf((lane.batch.lengths[0] as number) + 1)
    const { drafts, width } = draftAll(lane)
    lanes.delete(lane)
    const before = lane.writings.map(({ tokens }) => tokens.length)
    const guesses = drafts.map(({ tokens }) => tokens.slice(0, width - 1))
    const added = lane.writings.map(({ tokens }, row) => [tokens.at(-1) as number, ...(guesses[row] ?? [])])
    const { logits, keep } = await step(model, lane.batch, added)
    const written = lane.writings.map((writing, row) => {
      const goesOn = writeTokens(writing, (drafted) => logits(row, drafted), guesses[row] ?? [], end)
      drafter.note(drafts[row] as Draft, writing.tokens[before[row] as number])
      if (!goesOn) drafter.learn(writing.tokens)
      return goesOn ? writing : undefined
    })
    const batch = keep(written.map((one, row) => (one ? one.tokens.length - (before[row] as number) : 0)))
    const stays = (row: number) => written[row] !== undefined && keyOf(batch.lengths[row] as number) === key
    const order = compact(written.length, (row) => !stays(row))
    // What is too long for this lane by now goes on in another.
    await place(
      batch,
      written.map((writing, row) => (stays(row) ? undefined : writing)),
    )
    if (order.length === 0) return model.store.release(batch.state)
    const layout = layoutFor(batch.lengths[order[0] as number] as number, batch)
    const settled =
      order.length === written.length &&
      batch.state.columns < layout.widest &&
      order.every((row) => isAligned(batch, row))
    lane.batch = settled ? batch : await gatherRows(model, layout, [{ batch, rows: order }], batch)
    lane.writings = order.map((row) => written[row] as Writing)
    lanes.add(lane)
  }

  /** Tokens that may follow each row's, and how many the next pass should append, the known one included. */
  function draftAll({ batch, writings }: Lane): { drafts: Draft[]; width: number } {
    if (!abilities.drafts) return { drafts: writings.map(() => NO_DRAFT), width: 1 }
    const { columns } = batch.state
    const widest = columns < longAfter ? Math.min(longAfter, maxPositions) : maxPositions
    const drafts = writings.map(({ row, writer, tokens }) => {
      const most = Math.min(row.limit - tokens.length - 1, widest - columns - 1)
      return writer.atOnce ? drafter.draft(row.prompt, tokens, most) : NO_DRAFT
    })
    const most = Math.floor(DRAFT_SCORES / (writings.length * model.graph.vocabSize))
    return {
      drafts,
      width: draftWidth(
        drafts.map(({ chances }) => chances),
        most,
      ),
    }
  }
}

/** Most scores of a pass that writes several tokens of each row. */
const DRAFT_SCORES = 16 << 20
