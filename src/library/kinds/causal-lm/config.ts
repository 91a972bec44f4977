import { z } from 'zod'
import { readJson, requireJson } from './model-folder.ts'

const Count = z.int().positive()
const TokenIds = z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish()

/** What config.json says, under the names that families of models use for it. Everything else in it is ignored. */
export const ConfigFile = z.looseObject({
  model_type: z.string().optional(),
  num_hidden_layers: Count.optional(),
  n_layer: Count.optional(),
  num_attention_heads: Count.optional(),
  n_head: Count.optional(),
  num_key_value_heads: Count.nullish(),
  head_dim: Count.nullish(),
  hidden_size: Count.optional(),
  n_embd: Count.optional(),
  vocab_size: Count.optional(),
  max_position_embeddings: Count.optional(),
  n_positions: Count.optional(),
  original_max_position_embeddings: Count.nullish(),
  rope_scaling: z.looseObject({ original_max_position_embeddings: Count.nullish() }).nullish(),
  eos_token_id: TokenIds,
})
export type ConfigFile = z.infer<typeof ConfigFile>

export const GenerationFile = z.looseObject({ eos_token_id: TokenIds })

/** What a model says of itself. Numbers that its config.json leaves out are undefined. */
export interface ModelConfig {
  layers: number | undefined
  heads: number | undefined
  kvHeads: number | undefined
  hiddenSize: number | undefined
  headDim: number | undefined
  vocabSize: number | undefined
  /** Most tokens of prompt and answer together. */
  maxPositions: number | undefined
  /** Sequences longer than this have other rotary factors, those of "long rope". */
  longAfter: number | undefined
  /** Tokens that end an answer. */
  endTokens: ReadonlySet<number>
}

/** Reads config.json and, if there is one, generation_config.json, which has the last word on how an answer ends. */
export async function readConfig(folder: string): Promise<ModelConfig> {
  const config = await requireJson(folder, 'config.json', ConfigFile)
  const generation = await readJson(folder, 'generation_config.json', GenerationFile)
  return toModelConfig(config, generation?.eos_token_id ?? config.eos_token_id)
}

/** Brings a config.json to one set of names. */
export function toModelConfig(config: ConfigFile, endTokens: z.infer<typeof TokenIds>): ModelConfig {
  return {
    layers: config.num_hidden_layers ?? config.n_layer,
    heads: config.num_attention_heads ?? config.n_head,
    kvHeads: config.num_key_value_heads ?? undefined,
    hiddenSize: config.hidden_size ?? config.n_embd,
    headDim: config.head_dim ?? undefined,
    vocabSize: config.vocab_size,
    maxPositions: config.max_position_embeddings ?? config.n_positions,
    longAfter: longAfter(config),
    endTokens: new Set([endTokens ?? []].flat()),
  }
}

/** Other ways of stretching rotary factors know an original length too, but have the same factors for all lengths. */
function longAfter({ rope_scaling: rope, ...config }: ConfigFile): number | undefined {
  const kind = rope?.['rope_type'] ?? rope?.['type']
  if (kind !== 'longrope' && kind !== 'su') return undefined
  return config.original_max_position_embeddings ?? rope?.original_max_position_embeddings ?? undefined
}
