import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers'
import { join } from 'node:path'
import { z } from 'zod'
import { ContextFilesError, InputError } from '../../../../common/task-errors.ts'
import { Json } from '../../../../protocol/primitives.ts'
import { type Chat, ChatTemplates, readChat } from './chat.ts'
import { checkJson, parseJson, readJson, requireText } from '../files/read-model-files.ts'
import { type BpeTables, toBpeTables, useBpeTables } from './bpe-tables.ts'
import { findChoiceTokens } from './choice-tokens.ts'
import { keepTokenizer, recallTokenizer } from './tokenizer-cache.ts'

/** Text to tokens and back, as the model's own files say. */
export interface Tokenizer {
  /** Tokens of a text. `special` adds those that the model expects around any text, such as one for its beginning. */
  encode: (text: string, special: boolean) => number[]
  /** A text, or a pair of them, with all special tokens, and which of the two each token belongs to. */
  encodePair: (text: string, pair: string | undefined) => { tokens: number[]; types: number[] }
  /** Text of tokens, special ones left out. What is not whole UTF-8 ends in U+FFFD. */
  decode: (tokens: readonly number[]) => string
  /** All tokens that may be part of one of these texts, white space around it included, and some that may not. */
  candidates: (texts: readonly string[]) => number[]
  /** How tokens are spelled; undefined where a token's text depends on its neighbours. */
  spellings?: TokenSpellings | undefined
  /** The model's chat templates; undefined if it has none. */
  chat: Chat | undefined
  /** The token named as the end of a text, if one is. */
  endToken: number | undefined
  /** The token named as padding, if one is. */
  padToken: number | undefined
}

/** How the texts of tokens are written down. */
export interface TokenSpellings {
  /** `byte_level`: bytes as letters of their own; `byte_fallback`: a bar for a space, and `<0xE2>` for a byte. */
  kind: 'byte_level' | 'byte_fallback'
  /** The spelling of a token; empty for what is no text. */
  pieces: (token: number) => string
}

const SpecialToken = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish()
/** Special tokens by the names that chat templates use. */
const SPECIAL = [
  'bos_token',
  'eos_token',
  'pad_token',
  'unk_token',
  'sep_token',
  'cls_token',
  'mask_token',
] as const

const TokenizerConfig = z.looseObject({
  chat_template: ChatTemplates,
  bos_token: SpecialToken,
  eos_token: SpecialToken,
  pad_token: SpecialToken,
  unk_token: SpecialToken,
  sep_token: SpecialToken,
  cls_token: SpecialToken,
  mask_token: SpecialToken,
  clean_up_tokenization_spaces: z.boolean().nullish(),
})

const Definition = z.looseObject({
  model: z.looseObject({
    type: z.string().nullish(),
    byte_fallback: z.boolean().nullish(),
    vocab: z.unknown().optional(),
    merges: z.unknown().optional(),
  }),
  added_tokens: z.unknown().optional(),
  decoder: Json.nullish(),
})

/**
 * Reads tokenizer.json and, if they exist, tokenizer_config.json and the chat templates.
 *
 * @throws {ContextFilesError} naming the file that is missing or of no use
 */
export async function readTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json')
  const { definition, tables } = await readDefinition(folder, path)
  const config = (await readJson(folder, 'tokenizer_config.json', TokenizerConfig)) ?? {}
  const tokenizer = createTokenizer(path, definition, config, tables)
  const hidden = new Set<number>()
  for (const [id, token] of tokenizer.get_added_tokens_decoder()) if (token.special) hidden.add(id)
  const shown = (id: number) => !hidden.has(id) && tokenizer.id_to_token(id) !== undefined
  const clean = config.clean_up_tokenization_spaces ?? false
  const special = Object.fromEntries(SPECIAL.map((name) => [name, textOf(config[name])]))
  const idOf = (token: string | undefined) => (token === undefined ? undefined : tokenizer.token_to_id(token))
  return {
    encode(text, special) {
      const { ids } = tokenizer.encode(text, { add_special_tokens: special })
      return ids.map((id) => id ?? noToken(text))
    },
    encodePair(text, pair) {
      const options = { text_pair: pair ?? null, add_special_tokens: true, return_token_type_ids: true }
      const { ids, token_type_ids: types } = tokenizer.encode(text, options)
      return { tokens: ids.map((id) => id ?? noToken(text)), types: types ?? ids.map(() => 0) }
    },
    decode(tokens) {
      const ids = tokens.filter(shown)
      return ids.length === 0 ? '' : tokenizer.decode(ids, { clean_up_tokenization_spaces: clean })
    },
    candidates: (texts) => findChoiceTokens(tokenizer.model.vocab, texts),
    spellings: spellingsOf(definition, (token) =>
      hidden.has(token) ? '' : (tokenizer.id_to_token(token) ?? ''),
    ),
    chat: await readChat(folder, config.chat_template, special),
    endToken: idOf(special['eos_token']),
    padToken: idOf(special['pad_token']),
  }
}

function spellingsOf(
  { decoder, model }: z.infer<typeof Definition>,
  pieces: TokenSpellings['pieces'],
): TokenSpellings | undefined {
  const steps = JSON.stringify(decoder ?? {})
  if (steps.includes('"ByteLevel"')) return { kind: 'byte_level', pieces }
  const isPlain = model.byte_fallback === true || /"(?:ByteFallback|Metaspace)"/.test(steps)
  return isPlain ? { kind: 'byte_fallback', pieces } : undefined
}

/** The definition, and the tables that stand for its vocabulary and merges, if they can. */
async function readDefinition(
  folder: string,
  path: string,
): Promise<{ definition: z.infer<typeof Definition>; tables?: BpeTables }> {
  const text = await requireText(folder, 'tokenizer.json')
  const known = await recallTokenizer(folder, text)
  if (known) return { ...known, definition: checkJson(known.definition, path, Definition) }
  const definition = checkJson(parseJson(text, path), path, Definition)
  const tables = isBpe(definition) ? toBpeTables(definition) : undefined
  if (!tables) return { definition }
  const parsed = {
    definition: { ...definition, model: { ...definition.model, vocab: {}, merges: [] } },
    tables,
  }
  await keepTokenizer(folder, text, parsed)
  return parsed
}

function isBpe({ model: { type } }: z.infer<typeof Definition>): boolean {
  return type === 'BPE'
}

function createTokenizer(
  path: string,
  definition: z.infer<typeof Definition>,
  config: object,
  tables: BpeTables | undefined,
): HfTokenizer {
  try {
    const tokenizer = new HfTokenizer(definition, config)
    if (tables) useBpeTables(tokenizer, tables)
    const { type, byte_fallback } = definition.model
    if (type === 'Unigram' && byte_fallback) spellUnknownInBytes(tokenizer)
    return tokenizer
  } catch (error) {
    throw new ContextFilesError(`${path} cannot be used: ${(error as Error).message}`, { cause: error })
  }
}

/** Has a Unigram tokenizer write what it has no token for as tokens of bytes, `<0xE2>`; the library does so for BPE alone. */
function spellUnknownInBytes({ model }: HfTokenizer): void {
  const { tokens_to_ids: ids } = model
  const encode = model.encode.bind(model)
  model.encode = (texts) =>
    encode(texts).flatMap((piece) => {
      if (ids.has(piece)) return [piece]
      const bytes = [...Buffer.from(piece)].map(
        (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
      )
      return bytes.every((byte) => ids.has(byte)) ? bytes : [piece]
    })
}

function noToken(text: string): never {
  throw new InputError(`the model's tokenizer has no token for part of this text: ${text.slice(0, 200)}`)
}

function textOf(token: z.infer<typeof SpecialToken>): string | undefined {
  return typeof token === 'string' ? token : token?.content
}
