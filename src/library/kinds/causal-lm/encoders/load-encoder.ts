import { z } from 'zod'
import type { EncoderFunction } from '../../../../protocol/contexts/encoder-functions.ts'
import type { LoadedContext } from '../../../runtime/library-kind.ts'
import type { GraphFile } from '../files/choose-graph.ts'
import { createEncode, type Reader } from './encode.ts'
import { loadEncoder } from './encoder.ts'
import { findGraph } from '../files/find-graph.ts'
import { type UnloadedModel, pathOf } from '../files/unloaded-model.ts'
import { readJson } from '../files/read-model-files.ts'
import type { Pooling } from './pooling.ts'

/** What config.json says of classes. */
const ClassConfig = z.looseObject({
  id2label: z.record(z.string(), z.string()).nullish(),
  problem_type: z.string().nullish(),
})

/** How models made with sentence-transformers say what becomes of their vectors. */
const PoolingConfig = z.looseObject({
  pooling_mode_cls_token: z.boolean().nullish(),
  pooling_mode_mean_tokens: z.boolean().nullish(),
  pooling_mode_max_tokens: z.boolean().nullish(),
  pooling_mode_lasttoken: z.boolean().nullish(),
})
const SentenceConfig = z.looseObject({ max_seq_length: z.int().positive().nullish() })

/** RoBERTa counts positions from the one after its padding token. */
const COUNTED_FROM_PADDING = ['roberta', 'xlm-roberta', 'camembert', 'xlm-roberta-xl', 'mpnet']

/** Loads a model that reads whole texts: for embeddings, classes or scores. */
export async function loadReader(
  unloaded: UnloadedModel,
  graphs: readonly GraphFile[],
  functions: ReadonlyMap<string, EncoderFunction>,
): Promise<LoadedContext> {
  const { folder, config, tokenizer, options, threads, slot } = unloaded
  const stems = ['model', 'encoder_model']
  const path = pathOf(folder, findGraph(folder, graphs, { graph: options.graph, slot, stems }))
  const padToken = config.padToken ?? tokenizer.padToken ?? 0
  const encoder = await loadEncoder(path, padToken, { threads, ...slot })
  const classes = await readJson(folder, 'config.json', ClassConfig)
  const sentences = await readJson(folder, 'sentence_bert_config.json', SentenceConfig)
  const spare = COUNTED_FROM_PADDING.includes(config.modelType ?? '') ? padToken + 1 : 0
  const positions = config.maxPositions === undefined ? Infinity : config.maxPositions - spare
  const reader: Reader = {
    encoder,
    tokenizer,
    maxTokens: Math.min(options.maxPromptTokens ?? sentences?.max_seq_length ?? Infinity, positions),
    maxBatch: options.maxBatch,
    pooling: await readPooling(folder),
    labels: toLabels(classes?.id2label ?? {}),
    multiLabel: classes?.problem_type === 'multi_label_classification',
  }
  return {
    level: encoder.level,
    functions: new Map([...functions].map(([name, how]) => [name, createEncode(reader, how)])),
    close: () => encoder.close(),
  }
}

async function readPooling(folder: string): Promise<Pooling | undefined> {
  const config = await readJson(folder, '1_Pooling/config.json', PoolingConfig)
  if (config?.pooling_mode_cls_token) return 'cls'
  if (config?.pooling_mode_lasttoken) return 'last'
  if (config?.pooling_mode_max_tokens) return 'max'
  return config?.pooling_mode_mean_tokens ? 'mean' : undefined
}

function toLabels(names: Readonly<Record<string, string>>): string[] {
  const labels: string[] = []
  for (const [index, name] of Object.entries(names)) labels[Number(index)] = name
  return labels
}
