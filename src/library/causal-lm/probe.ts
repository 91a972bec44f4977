import { BundleError } from '../errors.ts'
import { extendBatch, type Prefix, startBatch } from './batch.ts'
import type { Model } from './model.ts'
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
 * @throws {BundleError} when going on from the graph's own cache gives something else than the whole prompt does
 */
export async function probe(model: Model): Promise<Abilities> {
  const tokens = Array.from({ length: 12 }, (_, i) => (i * 7919 + 17) % model.graph.vocabSize)
  const prompt = tokens.slice(0, 5)
  const expected = Array.from((await startBatch(model, [prompt])).logits(0))

  /** How far the scores after `prompt` are off when it goes through in steps and beside others. */
  const deviation = async (others: number[][], prefix?: Prefix) => {
    const start = await startBatch(
      model,
      [prompt, ...others].map((row) => row.slice(0, -1)),
      prefix,
    )
    const lasts = [prompt, ...others].map((row) => row.at(-1) as number)
    return distance(expected, (await extendBatch(model, start.batch, lasts)).logits(0))
  }
  const alone = await deviation([])
  if (!(alone < WRONG)) {
    throw new BundleError(`${model.path} gives other results with its KV cache than without: export it again`)
  }
  const limit = ROUNDING[model.graph.kvType]
  const works = (attempt: Promise<number>) => attempt.then((off) => off <= limit).catch(() => false)

  const padding = await works(deviation([tokens.slice(3)]))
  const shared = prompt.slice(0, 2)
  const { batch } = await startBatch(model, [shared])
  const other = [...shared, ...tokens.slice(padding ? 3 : 9)]
  const prefix = await works(deviation([other], { tokens: shared, cache: batch.cache }))
  return { padding, prefix }
}

/** The greatest difference, relative to the spread of the expected scores; NaN where there are no numbers. */
function distance(expected: readonly number[], logits: Logits): number {
  const spread = Math.max(...expected) - Math.min(...expected)
  return Math.max(...expected.map((value, i) => Math.abs(value - (logits[i] as number)))) / spread
}
