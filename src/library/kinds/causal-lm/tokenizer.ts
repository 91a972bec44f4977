import { Template } from '@huggingface/jinja'
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'
import { join } from 'node:path'
import { z } from 'zod'
import { ContextFilesError, InputError } from '../../../common/task-errors.ts'
import { readJson, readText, requireJson } from './model-folder.ts'

export interface Message {
  role: string
  content: string
}

/** Text to tokens and back, as the model's own files say. */
export interface Tokenizer {
  /** Tokens of a text. `special` adds those that the model expects around any text, such as one for its beginning. */
  encode: (text: string, special: boolean) => number[]
  /** Text of tokens, special ones left out. What is not whole UTF-8 ends in U+FFFD. */
  decode: (tokens: readonly number[]) => string
  /** The model's chat template applied to messages, ending where its answer begins; undefined if it has none. */
  chat: ((messages: readonly Message[]) => string) | undefined
  /** The token named as the end of a text, if one is. */
  endToken: number | undefined
}

const SpecialToken = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish()

const TokenizerConfig = z.looseObject({
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
  bos_token: SpecialToken,
  eos_token: SpecialToken,
  pad_token: SpecialToken,
  unk_token: SpecialToken,
  clean_up_tokenization_spaces: z.boolean().nullish(),
})
type TokenizerConfig = z.infer<typeof TokenizerConfig>

/**
 * Reads tokenizer.json and, if they exist, tokenizer_config.json and chat_template.jinja.
 *
 * @throws {ContextFilesError} naming the file that is missing or of no use
 */
export async function readTokenizer(folder: string): Promise<Tokenizer> {
  const definition = await requireJson(folder, 'tokenizer.json', z.looseObject({}))
  const config = (await readJson(folder, 'tokenizer_config.json', TokenizerConfig)) ?? {}
  const tokenizer = useful(join(folder, 'tokenizer.json'), () => new HfTokenizer(definition, config))
  const hidden = new Set<number>()
  for (const [id, token] of tokenizer.get_added_tokens_decoder()) if (token.special) hidden.add(id)
  const shown = (id: number) => !hidden.has(id) && tokenizer.id_to_token(id) !== undefined
  const clean = config.clean_up_tokenization_spaces ?? false
  const endToken = textOf(config.eos_token)
  return {
    encode(text, special) {
      const { ids } = tokenizer.encode(text, { add_special_tokens: special })
      return ids.map((id) => id ?? noToken(text))
    },
    decode(tokens) {
      const ids = tokens.filter(shown)
      return ids.length === 0 ? '' : tokenizer.decode(ids, { clean_up_tokenization_spaces: clean })
    },
    chat: await readChat(folder, config),
    endToken: endToken === undefined ? undefined : tokenizer.token_to_id(endToken),
  }
}

function noToken(text: string): never {
  throw new InputError(`the model's tokenizer has no token for part of this text: ${text.slice(0, 200)}`)
}

async function readChat(folder: string, config: TokenizerConfig): Promise<Tokenizer['chat']> {
  const file = await readText(folder, 'chat_template.jinja')
  const source = file ?? defaultTemplate(config)
  if (source === undefined) return undefined
  const path = join(folder, file === undefined ? 'tokenizer_config.json' : 'chat_template.jinja')
  const template = useful(path, () => new Template(source))
  const names = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const
  const tokens = Object.fromEntries(names.map((name) => [name, textOf(config[name])]))
  return (messages) => {
    try {
      return template.render({ ...tokens, messages, add_generation_prompt: true })
    } catch (error) {
      throw new InputError(`the model's chat template refuses these messages: ${(error as Error).message}`)
    }
  }
}

function defaultTemplate({ chat_template: template }: TokenizerConfig): string | undefined {
  if (!Array.isArray(template)) return template ?? undefined
  return template.find(({ name }) => name === 'default')?.template
}

function textOf(token: z.infer<typeof SpecialToken>): string | undefined {
  return typeof token === 'string' ? token : token?.content
}

function useful<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw new ContextFilesError(`${path} cannot be used: ${(error as Error).message}`, { cause: error })
  }
}
