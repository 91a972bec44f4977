import { type Prefix, startBatch } from './batch.ts'
import type { Model } from './model.ts'
import { commonPrefix } from './plan.ts'

/** What one more pass through the model costs at least, in tokens. */
const PASS_TOKENS = 64

/**
 * Remembers what a model made of the start that prompts have in common, so that it is computed once and not for each of
 * them. It compares tokens, not texts: the prompts given decide what they share.
 *
 * @returns a function that gives a start that all of some prompts have, where that saves work
 */
export function createPrefixKeeper(
  model: Model,
): (prompts: ReadonlyArray<readonly number[]>) => Promise<Prefix | undefined> {
  let kept: Prefix | undefined
  return async (prompts) => {
    const shared = prompts[0]?.slice(0, commonPrefix(prompts)) ?? []
    const usable = kept?.tokens.every((token, i) => token === shared[i]) ? kept : undefined
    const gain = (shared.length - (usable?.tokens.length ?? 0)) * prompts.length
    if (gain <= shared.length + PASS_TOKENS) return usable
    const { batch } = await startBatch(model, [shared])
    kept = { tokens: shared, cache: batch.cache }
    return kept
  }
}
