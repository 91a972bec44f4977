import { ContextFilesError } from '../../../../common/task-errors.ts'
import {
  type Batch,
  gatherRows,
  readPrompts,
  scorePrompts,
  type Side,
  type Start,
  step,
} from '../batches/batch.ts'
import type { Model } from './model.ts'
import { allScores } from './scores.ts'
import type { Logits } from '../answers/sampling.ts'

/** How rows may go through a graph together without changing each other's scores; the fastest way that is right. */
export interface Abilities {
  /** How prompts of different lengths share a pass: padded on the other side, or not at all: `equal` lengths, or one. */
  prompts: Side | 'equal' | 'one'
  /** How rows go on: in columns where others can join them, or only together with those they were read with. */
  steps: Side | 'together'
  /**
   * How prompts go on from a start that was seen before: `end` with lengths of their own, `equal` lengths, `one` by one,
   * or not at all.
   */
  starts: 'end' | 'equal' | 'one' | undefined
  /** Whether rows can go on by several tokens at once, of which some are taken back. */
  drafts: boolean
}

/** Differences in scores, relative to their spread, that are rounding; and one that is surely more. */
const ROUNDING = { float32: 1e-3, float16: 2e-2 }
const WRONG = 0.2

/** Lengths of the rows that are tried; the last is long enough to show what happens to short ones beside it. */
const LENGTHS = [7, 12, 10, 80]
/** Scores of a large vocabulary for all of those would take gigabytes: rows of a pass have this many in all, about. */
const SCORES = 16 << 20
/** All of them begin with this many tokens alike. */
const SHARED = 4

interface Trial {
  readonly tokens: readonly number[]
  /** Scores before the last token, and after it, with nothing beside the row. */
  readonly before: readonly number[]
  readonly after: readonly number[]
}

/**
 * Tries out what a graph can do. Exports differ: some ignore the mask, some count positions themselves, some let one row
 * change the scale of another's numbers. None of that shows in their inputs, and all of it would quietly falsify answers.
 *
 * @param maxPositions most tokens of a sequence
 * @throws {ContextFilesError} when going on from the graph's own state gives something else than the whole prompt does
 */
export async function probeBatching(model: Model, maxPositions = Infinity): Promise<Abilities> {
  const { keepLogits, vocabSize } = model.graph
  const longest = keepLogits ? Infinity : Math.max(16, Math.floor(SCORES / (LENGTHS.length * vocabSize)))
  const rows = LENGTHS.map((length, row) => sampleTokens(model, Math.min(length, maxPositions, longest), row))
  const trials: Trial[] = []
  for (const tokens of rows) trials.push(await tryAlone(model, tokens))
  await checkState(model, trials[1] as Trial)

  const limit = ROUNDING[model.graph.logitsType]
  const works = (attempt: Promise<number>) => attempt.then((off) => off <= limit).catch(() => false)
  const first = async <T>(
    ways: readonly T[],
    attempt: (way: T) => Promise<number>,
  ): Promise<T | undefined> => {
    for (const way of ways) if (await works(attempt(way))) return way
    return undefined
  }
  const alike = [0, 1, 2].map((row) => sampleTokens(model, (rows[1] as number[]).length, row + 9))
  const equal: Trial[] = []
  for (const tokens of alike) equal.push(await tryAlone(model, tokens))

  const sides: readonly Side[] = ['end', 'start']
  const steps = (await first(sides, (side) => trySteps(model, side, trials))) ?? 'together'
  const read = (side: Side, trials: readonly Trial[], seen?: Batch) =>
    tryPrompts(model, { side, steps, seen }, trials)
  const prompts =
    (await first(sides, (side) => read(side, trials))) ??
    (await first(['equal'] as const, () => read('end', equal))) ??
    'one'
  const { batch: seen } = await readPrompts(model, 'end', [
    { tokens: (rows[0] as number[]).slice(0, SHARED) },
  ])
  const few = { end: trials.slice(0, 3), equal, one: trials.slice(1, 2) }
  const starts = await first(['end', 'equal', 'one'] as const, (way) => read('end', few[way], seen))
  model.store.release(seen.state)
  // Without room behind its columns, a state would have to be copied for that at each step.
  const drafts = model.inPlace && steps === 'end' && (await works(tryDrafts(model, few.end)))
  return { prompts, steps, starts, drafts }
}

/** What the user should know of a graph that needs more passes than others; undefined where it can all that helps. */
export function explainCost({ prompts, steps, starts }: Abilities): string | undefined {
  const costs = [
    prompts === 'one' &&
      'prompts go one by one, and answers alone, which is many times slower than in batches',
    prompts === 'equal' && 'only prompts of the same length are read together',
    prompts !== 'one' &&
      steps === 'together' &&
      'no prompt joins a batch before all of its answers have ended',
    starts === undefined && 'what prompts share at their start is computed again for each',
    starts === 'one' && 'prompts that share a start are read one by one from there',
  ].filter((cost) => cost !== false)
  return costs.length > 0 ? costs.join('; ') : undefined
}

function sampleTokens({ graph }: Model, length: number, row: number): number[] {
  return Array.from({ length }, (_, i) => ((i < SHARED ? i : i + 31 * row + 5) * 7919 + 17) % graph.vocabSize)
}

/** Scores of a row that nothing else shares a pass with. */
async function tryAlone(model: Model, tokens: readonly number[]): Promise<Trial> {
  const { batch, scores } = await readPrompts(model, 'end', [{ tokens: tokens.slice(0, -1) }])
  const before = Array.from((await allScores(scores))(0))
  const next = await step(model, batch, [tokens.slice(-1)])
  model.store.release(next.keep([1]).state)
  return { tokens, before, after: Array.from((await allScores(next.scores))(0, 0)) }
}

async function checkState(model: Model, { tokens, after }: Trial): Promise<void> {
  const whole = await allScores(await scorePrompts(model, 'end', [{ tokens }]))
  if (!(distance(after, whole(0)) < WRONG)) {
    throw new ContextFilesError(
      `${model.path} gives other results with its KV cache than without: export it again`,
    )
  }
}

/** Reads rows together, and goes on with each. */
async function tryPrompts(
  model: Model,
  { side, steps, seen }: { side: Side; steps: Abilities['steps']; seen: Batch | undefined },
  trials: readonly Trial[],
): Promise<number> {
  const { batch, scores } = await readPrompts(
    model,
    side,
    trials.map((trial) => ({ ...toStart(trial), seen })),
  )
  const logits = await allScores(scores)
  const off = trials.map(({ before }, row) => distance(before, logits(row)))
  const rows = [...trials.keys()]
  const layout = steps === 'together' ? undefined : { side: steps, widest: Infinity }
  const ready = layout ? await gatherRows(model, layout, [{ batch, rows }], batch) : batch
  return farthest([...off, await goOn(model, ready, trials)])
}

/** Brings together rows that were read apart. */
async function trySteps(model: Model, side: Side, trials: readonly Trial[]): Promise<number> {
  const parts: { batch: Batch; rows: number[] }[] = []
  for (const trial of trials) {
    const { batch } = await readPrompts(model, 'end', [toStart(trial)])
    parts.push({ batch, rows: [0] })
  }
  const batch = await gatherRows(model, { side, widest: Infinity }, parts)
  for (const part of parts) model.store.release(part.batch.state)
  return goOn(model, batch, trials)
}

async function goOn(model: Model, batch: Batch, trials: readonly Trial[]): Promise<number> {
  const { keep, scores } = await step(
    model,
    batch,
    trials.map(({ tokens }) => tokens.slice(-1)),
  )
  const logits = await allScores(scores)
  model.store.release(keep(trials.map(() => 1)).state)
  return farthest(trials.map(({ after }, row) => distance(after, logits(row, 0))))
}

/** Goes on by two tokens at a time: with a wrong one, which is taken back, first in every other row, then in the others. */
async function tryDrafts(model: Model, trials: readonly Trial[]): Promise<number> {
  const rows = [...trials.keys()]
  const read = trials.map(({ tokens }) => ({ tokens: tokens.slice(0, -3) }))
  let { batch } = await readPrompts(model, 'end', read)
  let off = 0
  for (const wrong of [1, 0]) {
    const isWrong = (row: number) => row % 2 === wrong
    const drafts = trials.map(({ tokens }, row) => {
      const next = tokens.slice(batch.lengths[row])
      return isWrong(row) ? [next[0]!, (next[0]! + 1) % model.graph.vocabSize] : next.slice(0, 2)
    })
    const { keep, scores } = await step(model, batch, drafts)
    const logits = await allScores(scores)
    for (const [row, { tokens, before, after }] of trials.entries()) {
      const last = isWrong(row) ? 0 : 1
      const seen = (batch.lengths[row] as number) + last + 1
      if (seen === tokens.length) off = farthest([off, distance(after, logits(row, last))])
      if (seen === tokens.length - 1) off = farthest([off, distance(before, logits(row, last))])
    }
    const kept = keep(rows.map((row) => (isWrong(row) ? 1 : 2)))
    batch = await gatherRows(model, { side: 'end', widest: Infinity }, [{ batch: kept, rows }], kept)
  }
  model.store.release(batch.state)
  return off
}

function toStart({ tokens }: Trial): Start {
  return { tokens: tokens.slice(0, -1) }
}

/** The greatest difference, relative to the spread of the expected scores; NaN where there are no numbers. */
function distance(expected: readonly number[], logits: Logits): number {
  let least = Infinity
  let most = -Infinity
  let off = 0
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i] as number
    least = Math.min(least, value)
    most = Math.max(most, value)
    off = Math.max(off, Math.abs(value - (logits[i] as number)))
  }
  return off / (most - least)
}

/** NaN if any is. */
function farthest(distances: readonly number[]): number {
  return distances.reduce((most, distance) => Math.max(most, distance), 0)
}
