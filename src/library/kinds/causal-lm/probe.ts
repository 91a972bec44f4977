import { ContextFilesError } from '../../../common/task-errors.ts'
import { emptyBatch, extendBatch, scoreBatch, takeRows } from './batch.ts'
import type { Model } from './model.ts'
import { noPrefix } from './prefix.ts'
import type { Logits } from './sampling.ts'

/** What a graph can do beyond the plain case. */
export interface Abilities {
  /** Prompts of different lengths can share a batch: padding makes no difference. */
  padding: boolean
  /** A start that prompts share can be computed once: a prompt in two parts gives what the whole gives. */
  prefix: boolean
}

/** Differences in scores, relative to their spread, that are rounding; and one that is surely more. */
const ROUNDING = { float32: 1e-3, float16: 2e-2 }
const WRONG = 0.2

/**
 * Tries out what a graph can do. Exports differ: some ignore the mask, some count positions themselves, some take a
 * cache with single tokens only. None of that shows in their inputs, and all of it would quietly falsify answers.
 *
 * @throws {ContextFilesError} when going on from the graph's own cache gives something else than the whole prompt does
 */
export async function probe(model: Model): Promise<Abilities> {
  const tokens = Array.from({ length: 12 }, (_, i) => (i * 7919 + 17) % model.graph.vocabSize)
  const prompt = tokens.slice(0, 5)
  const whole = await scoreBatch(model, emptyBatch(1), [prompt])
  const expected = Array.from(whole(0))

  /** How far the scores after `prompt` are off when it goes through in steps and beside another row. */
  const deviation = async (others: number[][], prefix = noPrefix) => {
    const rows = [prompt, ...others]
    const start = takeRows(model, prefix.batch, Array<number>(rows.length).fill(0))
    const { batch } = await extendBatch(
      model,
      start,
      rows.map((row) => row.slice(prefix.tokens.length, -1)),
    )
    const logits = await scoreBatch(
      model,
      batch,
      rows.map((row) => row.slice(-1)),
    )
    return distance(expected, logits(0))
  }
  const alone = await deviation([])
  if (!(alone < WRONG)) {
    throw new ContextFilesError(
      `${model.path} gives other results with its KV cache than without: export it again`,
    )
  }
  const limit = ROUNDING[model.graph.kvType]
  const works = (attempt: Promise<number>) => attempt.then((off) => off <= limit).catch(() => false)

  const padding = await works(deviation([tokens.slice(3)]))
  const shared = prompt.slice(0, 2)
  const { batch } = await extendBatch(model, emptyBatch(1), [shared])
  const other = [...shared, ...tokens.slice(padding ? 3 : 9)]
  const prefix = await works(deviation([other], { tokens: shared, batch }))
  return { padding, prefix }
}

/** The greatest difference, relative to the spread of the expected scores; NaN where there are no numbers. */
function distance(expected: readonly number[], logits: Logits): number {
  const spread = Math.max(...expected) - Math.min(...expected)
  return Math.max(...expected.map((value, i) => Math.abs(value - (logits[i] as number)))) / spread
}
