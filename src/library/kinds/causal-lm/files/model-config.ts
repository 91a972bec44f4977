import { z } from 'zod'
import type { GenerationSettings } from '../../../../protocol/contexts/generation-settings.ts'
import { readJson, requireJson } from './read-model-files.ts'
import { GenerationFile, toGenerationSettings, TokenIds, toTokenSet } from './generation-config.ts'

const Count = z.int().positive()

/** What config.json says, under the names that families of models use for it. Everything else in it is ignored. */
export const ConfigFile = z.looseObject({
  model_type: z.string().nullish(),
  num_hidden_layers: Count.nullish(),
  n_layer: Count.nullish(),
  num_attention_heads: Count.nullish(),
  n_head: Count.nullish(),
  num_key_value_heads: Count.nullish(),
  head_dim: Count.nullish(),
  hidden_size: Count.nullish(),
  n_embd: Count.nullish(),
  vocab_size: Count.nullish(),
  max_position_embeddings: z.int().nullish(),
  n_positions: z.int().nullish(),
  original_max_position_embeddings: Count.nullish(),
  rope_scaling: z.looseObject({ original_max_position_embeddings: Count.nullish() }).nullish(),
  eos_token_id: TokenIds,
  pad_token_id: TokenIds,
  decoder_start_token_id: TokenIds,
  forced_bos_token_id: TokenIds,
})
export type ConfigFile = z.infer<typeof ConfigFile>

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
  padToken: number | undefined
  /** What every answer of a model with an encoder begins with; empty if it does not say. */
  decoderStart: readonly number[]
  /** The family, such as `llama` or `bert`. */
  modelType: string | undefined
  /** How the model's authors would have it generate. */
  generation: GenerationSettings
}

/** Models that take more than text keep what concerns the language model under a name of its own. */
const Flattened = z
  .looseObject({ text_config: z.looseObject({}).nullish() })
  .transform((file) => ({ ...file, ...file.text_config }))
  .pipe(ConfigFile)

/** Reads config.json and, if there is one, generation_config.json, which has the last word on how an answer ends. */
export async function readConfig(folder: string): Promise<ModelConfig> {
  const config = await requireJson(folder, 'config.json', Flattened)
  const generation = await readJson(folder, 'generation_config.json', GenerationFile)
  const { settings, unsupported } = toGenerationSettings(generation ?? {})
  if (unsupported.length > 0) {
    process.stderr.write(
      `library: ${folder}/generation_config.json asks for what is not supported here, and left out: ${unsupported.join(', ')}\n`,
    )
  }
  const first = (id: z.infer<typeof TokenIds>) => [...toTokenSet(id)].slice(0, 1)
  const start = generation?.decoder_start_token_id ?? config.decoder_start_token_id
  const forced = generation?.forced_bos_token_id ?? config.forced_bos_token_id
  return {
    ...toModelConfig(config, generation?.eos_token_id ?? config.eos_token_id),
    decoderStart: [...first(start), ...first(forced)],
    generation: settings,
  }
}

/** Brings a config.json to one set of names. */
export function toModelConfig(config: ConfigFile, endTokens: z.infer<typeof TokenIds>): ModelConfig {
  const positions = config.max_position_embeddings ?? config.n_positions ?? 0
  return {
    layers: config.num_hidden_layers ?? config.n_layer ?? undefined,
    heads: config.num_attention_heads ?? config.n_head ?? undefined,
    kvHeads: config.num_key_value_heads ?? undefined,
    hiddenSize: config.hidden_size ?? config.n_embd ?? undefined,
    headDim: config.head_dim ?? undefined,
    vocabSize: config.vocab_size ?? undefined,
    maxPositions: positions > 0 ? positions : undefined,
    longAfter: longAfter(config),
    endTokens: toTokenSet(endTokens),
    padToken: [...toTokenSet(config.pad_token_id)][0],
    decoderStart: [],
    modelType: config.model_type ?? undefined,
    generation: {},
  }
}

/** Other ways of stretching rotary factors know an original length too, but have the same factors for all lengths. */
function longAfter({ rope_scaling: rope, ...config }: ConfigFile): number | undefined {
  const kind = rope?.['rope_type'] ?? rope?.['type']
  if (kind !== 'longrope' && kind !== 'su') return undefined
  return config.original_max_position_embeddings ?? rope?.original_max_position_embeddings ?? undefined
}
