import { explain, type JsonValue } from '../../../../protocol/primitives.ts'
import {
  GenerationSettings,
  type JsonSchema,
  REQUEST_SETTINGS,
} from '../../../../protocol/contexts/generation-settings.ts'
import { InputError } from '../../../../common/task-errors.ts'

/** What {@link GenerationSettings} come to for one answer. */
export interface AnswerSettings {
  readonly maxNewTokens: number
  readonly minNewTokens: number
  readonly temperature: number
  readonly topK?: number | undefined
  readonly topP?: number | undefined
  readonly minP?: number | undefined
  readonly repetitionPenalty: number
  readonly presencePenalty: number
  readonly frequencyPenalty: number
  readonly logitBias: Readonly<Record<string, number>>
  readonly n: number
  readonly logprobs?: number | undefined
  readonly seed?: number | undefined
  readonly stop: readonly string[]
  readonly schema?: JsonSchema | undefined
  readonly stream: boolean
  readonly truncate?: 'start' | 'middle' | 'end' | undefined
  readonly chatTemplate?: string | undefined
  readonly templateVariables: Readonly<Record<string, JsonValue>>
}

const DEFAULTS = {
  maxNewTokens: 128,
  minNewTokens: 0,
  temperature: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: {},
  n: 1,
  stop: [],
  stream: false,
  templateVariables: {},
}

/** Settings by rising priority, over the defaults. One that is undefined says nothing; template variables add up. */
export function mergeSettings(...layers: readonly GenerationSettings[]): AnswerSettings {
  const merged: AnswerSettings = { ...DEFAULTS }
  for (const layer of layers) {
    const said = Object.entries(layer).filter(([, value]) => value !== undefined)
    const templateVariables = { ...merged.templateVariables, ...layer.templateVariables }
    Object.assign(merged, Object.fromEntries(said), { templateVariables })
  }
  return merged
}

/** Those of a function's options that are settings. */
export function pickSettings(options: GenerationSettings): GenerationSettings {
  const entries = Object.entries(options).filter(([key]) => NAMES.has(key))
  return Object.fromEntries(entries)
}

const NAMES: ReadonlySet<string> = new Set(Object.keys(GenerationSettings.shape))
/** Names of the same settings elsewhere: a request that has one of them means a setting. */
const FOREIGN: Readonly<Record<string, string>> = {
  max_tokens: 'maxNewTokens',
  max_new_tokens: 'maxNewTokens',
  max_completion_tokens: 'maxNewTokens',
  min_tokens: 'minNewTokens',
  top_k: 'topK',
  top_p: 'topP',
  min_p: 'minP',
  repetition_penalty: 'repetitionPenalty',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
  logit_bias: 'logitBias',
  truncate_prompt_tokens: 'truncate',
  response_format: 'schema',
  json_schema: 'schema',
  chat_template: 'chatTemplate',
  chat_template_kwargs: 'templateVariables',
}

/**
 * Takes the settings of a request out of a task's input.
 *
 * @throws {InputError} naming a setting that is not known, or has no such value
 */
export function takeSettings(input: JsonValue): { settings: GenerationSettings; rest: JsonValue } {
  if (typeof input !== 'object' || input === null || Array.isArray(input))
    return { settings: {}, rest: input }
  const { [REQUEST_SETTINGS]: given, ...rest } = input as Record<string, JsonValue>
  if (given === undefined) return { settings: {}, rest: input }
  const parsed = GenerationSettings.safeParse(given)
  if (parsed.success) return { settings: parsed.data, rest }
  throw new InputError(`"${REQUEST_SETTINGS}" of the input: ${explain(parsed.error)}${hint(given)}`)
}

/**
 * Settings that stand beside a prompt instead of under `generation` would be dropped without a word.
 *
 * @throws {InputError} that says where they belong
 */
export function refuseLooseSettings(input: Readonly<Record<string, unknown>>): void {
  for (const key of Object.keys(input)) {
    const name = NAMES.has(key) ? key : FOREIGN[key]
    if (name !== undefined) {
      throw new InputError(
        `"${key}" beside a prompt has no effect: give {"${REQUEST_SETTINGS}": {"${name}": …}}`,
      )
    }
  }
}

function hint(given: JsonValue): string {
  if (typeof given !== 'object' || given === null) return ''
  const foreign = Object.keys(given).find((key) => FOREIGN[key] !== undefined)
  return foreign === undefined ? '' : `; "${foreign}" is called "${FOREIGN[foreign]}" here`
}
