import { type Batch, emptyBatch, extendBatch } from './batch.ts'
import type { Model } from './model.ts'
import { commonPrefix } from './plan.ts'

/** A start that prompts have in common, and what the model made of it: a batch of one row. */
export interface Prefix {
  readonly tokens: readonly number[]
  readonly batch: Batch
}

/** What one more pass through the model costs at least, in tokens. */
const PASS_TOKENS = 64

/** No start at all. */
export const noPrefix: Prefix = { tokens: [], batch: emptyBatch(1) }

/**
 * Remembers what a model made of the start that prompts have in common, so that it is computed once and not for each of
 * them. It compares tokens, not texts: the prompts given decide what they share.
 *
 * @returns a function that gives a start that all of some prompts have, as long as that saves work
 */
export function createPrefixKeeper(
  model: Model,
): (prompts: ReadonlyArray<readonly number[]>) => Promise<Prefix> {
  let kept = noPrefix
  return async (prompts) => {
    const shared = prompts[0]?.slice(0, commonPrefix(prompts)) ?? []
    const usable = kept.tokens.every((token, i) => token === shared[i]) ? kept : noPrefix
    const gain = (shared.length - usable.tokens.length) * prompts.length
    if (gain <= shared.length + PASS_TOKENS) return usable
    try {
      const { batch } = await extendBatch(model, emptyBatch(1), [shared])
      return (kept = { tokens: shared, batch })
    } catch {
      // Whatever it is, the prompts themselves will meet it, and can say whose fault it is.
      return usable
    }
  }
}
