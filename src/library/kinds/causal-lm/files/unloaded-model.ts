import { join } from 'node:path'
import type { CausalLmSetup } from '../../../../protocol/contexts/context.ts'
import type { SlotDevices } from '../graph/providers.ts'
import type { ModelConfig } from './model-config.ts'
import type { Tokenizer } from '../prompts/tokenizer.ts'

/** What is known of a model before its graphs are loaded. */
export interface UnloadedModel {
  readonly folder: string
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  readonly options: CausalLmSetup
  readonly threads: number
  readonly slot: SlotDevices
}

/** The tokenizer's end token stands in where the model's config names none. */
export function toEndTokens({
  config,
  tokenizer,
}: Pick<UnloadedModel, 'config' | 'tokenizer'>): ReadonlySet<number> {
  const { endTokens } = config
  const { endToken } = tokenizer
  return endTokens.size > 0 || endToken === undefined ? endTokens : new Set([endToken])
}

/** Where a graph lies on disk. */
export function pathOf(folder: string, { path }: { path: string }): string {
  return join(folder, path)
}
