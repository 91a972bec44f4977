import { z } from 'zod'
import type { GenerationSettings } from '../../../../protocol/contexts/generation-settings.ts'

/** One token or several, where some files write -1 for none. */
export const TokenIds = z.union([z.int(), z.array(z.int())]).nullish()

export function toTokenSet(ids: z.infer<typeof TokenIds>): Set<number> {
  return new Set([ids ?? []].flat().filter((id) => id >= 0))
}

const Setting = z.number().nullish()

/** What generation_config.json says, as transformers reads it. */
export const GenerationFile = z.looseObject({
  eos_token_id: TokenIds,
  decoder_start_token_id: TokenIds,
  forced_bos_token_id: TokenIds,
  suppress_tokens: z.array(z.int()).nullish(),
  do_sample: z.boolean().nullish(),
  temperature: Setting,
  top_k: Setting,
  top_p: Setting,
  min_p: Setting,
  repetition_penalty: Setting,
  max_new_tokens: Setting,
  min_new_tokens: Setting,
})
export type GenerationFile = z.infer<typeof GenerationFile>

/** Settings that change answers and are not supported, with the value at which they change nothing. */
const UNSUPPORTED: Readonly<Record<string, unknown>> = {
  num_beams: 1,
  num_beam_groups: 1,
  penalty_alpha: 0,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  top_h: null,
  encoder_repetition_penalty: 1,
  encoder_no_repeat_ngram_size: 0,
  no_repeat_ngram_size: 0,
  diversity_penalty: 0,
  bad_words_ids: null,
  force_words_ids: null,
  constraints: null,
  exponential_decay_length_penalty: null,
  begin_suppress_tokens: null,
  sequence_bias: null,
  guidance_scale: 1,
  stop_strings: null,
  watermarking_config: null,
}

/** A bias that no score makes up for. */
const NEVER = -1000
/** How many of the likeliest tokens transformers draws from unless told otherwise. */
const USUAL_TOP_K = 50

/**
 * What a generation_config.json asks for, in the words used here, and the names of what it asks for that is not supported.
 * Without `do_sample` it means greedy answers, whatever else it says of sampling.
 */
export function toGenerationSettings(file: GenerationFile): {
  settings: GenerationSettings
  unsupported: string[]
} {
  const samples = file.do_sample === true && file.temperature !== 0
  const topK = file.top_k ?? (samples ? USUAL_TOP_K : 0)
  const settings: GenerationSettings = {
    ...(samples && { temperature: file.temperature ?? 1 }),
    ...(samples && topK >= 1 && { topK: Math.floor(topK) }),
    ...(samples && within(file.top_p, 0, 1) && { topP: file.top_p! }),
    ...(samples && within(file.min_p, 0, 1) && { minP: file.min_p! }),
    ...(within(file.repetition_penalty, 0, 100) && { repetitionPenalty: file.repetition_penalty! }),
    ...(within(file.max_new_tokens, 0, 100_000) && { maxNewTokens: Math.ceil(file.max_new_tokens!) }),
    ...(within(file.min_new_tokens, 0, 100_000) && { minNewTokens: Math.ceil(file.min_new_tokens!) }),
    ...(file.suppress_tokens?.length && {
      logitBias: Object.fromEntries(file.suppress_tokens.map((token) => [String(token), NEVER])),
    }),
  }
  const unsupported = Object.entries(UNSUPPORTED)
    .filter(([key, neutral]) => (file[key] ?? neutral) !== neutral)
    .map(([key]) => key)
  return { settings, unsupported }
}

function within(value: number | null | undefined, above: number, most: number): boolean {
  return value !== null && value !== undefined && value > above && value <= most
}
