import { z } from 'zod'
import { explain, Json, type JsonValue } from '../../../../protocol/primitives.ts'
import type { GenerateFunction } from '../../../../protocol/contexts/context.ts'
import { ContextFilesError, InputError } from '../../../../common/task-errors.ts'
import type { ChatOptions } from './chat.ts'
import { type AnswerSettings, refuseLooseSettings } from '../answers/answer-settings.ts'
import { compileTemplate } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'

type ChatSettings = Pick<AnswerSettings, 'chatTemplate' | 'templateVariables'>
type PromptSettings = ChatSettings & Pick<AnswerSettings, 'truncate' | 'maxNewTokens'>

export interface Prompt {
  tokens: number[]
  /** So many more there were, and had to go. */
  leftOut: number
}

/** Makes a task's input the tokens of a prompt. Throws an {@link InputError} if it cannot. */
export type Prompter = (input: JsonValue, settings: PromptSettings) => Prompt

type Encoder = (input: JsonValue, settings: ChatSettings) => number[]

export interface PromptLimits {
  /** Most tokens of a prompt. */
  maxTokens: number
  /** Most tokens of a prompt and its answer together. */
  maxPositions?: number
  vocabSize: number
}

/** One that calls tools may say nothing besides. */
const Message = z
  .looseObject({ role: z.string(), content: Json.optional(), tool_calls: Json.optional() })
  .refine((message) => message.content !== undefined || message.tool_calls !== undefined, 'has no content')

/** The inputs of a function that has no template of its own. */
const FreeInput = z.union(
  [
    z.string(),
    z.looseObject({ prompt: z.string() }),
    z.looseObject({
      messages: z.array(Message).min(1),
      tools: z.array(Json).nullish(),
      documents: z.array(Json).nullish(),
    }),
  ],
  'expected a string, {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}',
)

type PromptOptions = Pick<GenerateFunction, 'messages' | 'prompt' | 'tools' | 'documents'>

/** Compiles a function's templates. Its prompts have 1 to `maxTokens` tokens, each below `vocabSize`. */
export function createPrompter(options: PromptOptions, tokenizer: Tokenizer, limits: PromptLimits): Prompter {
  const { maxTokens, vocabSize } = limits
  const toTokens = createEncoder(options, tokenizer)
  return (input, settings) => {
    const all = toTokens(input, settings)
    if (all.length === 0) throw new InputError('the prompt is empty')
    const tokens = settings.truncate ? cut(all, roomFor(limits, settings), settings.truncate, tokenizer) : all
    if (tokens.length > maxTokens) {
      throw new InputError(
        `the prompt has ${tokens.length} tokens, of which ${maxTokens} are allowed: shorten the input, or set "truncate"`,
      )
    }
    const strange = tokens.find((token) => token >= vocabSize)
    if (strange !== undefined)
      throw new InputError(`the model has no token ${strange}, which its tokenizer gave`)
    return { tokens, leftOut: all.length - tokens.length }
  }
}

/** Tokens that a prompt is cut to. Its answer has room then; but half of the model's positions are the prompt's in any case. */
function roomFor(
  { maxTokens, maxPositions = Infinity }: PromptLimits,
  { maxNewTokens }: PromptSettings,
): number {
  const beside = Math.max(maxPositions - maxNewTokens, Math.floor(maxPositions / 2), 1)
  return Math.min(maxTokens, beside)
}

/** The tokens without those that are too many, taken from the start, the middle or the end. */
function cut(
  tokens: number[],
  room: number,
  from: 'start' | 'middle' | 'end',
  tokenizer: Tokenizer,
): number[] {
  const tooMany = tokens.length - room
  if (tooMany <= 0) return tokens
  const kept = {
    start: () => Math.min(opening(tokens, tokenizer), room - 1),
    middle: () => Math.ceil(room / 2),
    end: () => room,
  }
  const first = kept[from]()
  return [...tokens.slice(0, first), ...tokens.slice(first + tooMany)]
}

/** How many tokens at the start of a prompt begin every text for this model, whatever it says. */
function opening(tokens: readonly number[], { encode }: Tokenizer): number {
  const differs = encode('', true).findIndex((token, i) => token !== tokens[i])
  return differs === -1 ? encode('', true).length : differs
}

function createEncoder({ messages, prompt, tools, documents }: PromptOptions, tokenizer: Tokenizer): Encoder {
  const { chat } = tokenizer
  const toOptions = ({ chatTemplate, templateVariables }: ChatSettings): ChatOptions => ({
    template: chatTemplate,
    variables: templateVariables,
    tools,
    documents,
  })
  if (messages) {
    if (!chat) throw new ContextFilesError(`the model has no chat template: ${NO_CHAT}`)
    const templates = messages.map(({ role, content }) => ({ role, render: compileTemplate(content) }))
    return (input, settings) => {
      const rendered = templates.map(({ role, render }) => ({ role, content: render(input) }))
      return tokenizer.encode(chat(rendered, toOptions(settings)), false)
    }
  }
  if (prompt !== undefined) {
    const render = compileTemplate(prompt)
    return (input) => tokenizer.encode(render(input), true)
  }
  return (input, settings) => {
    const parsed = FreeInput.safeParse(input)
    if (!parsed.success) throw new InputError(`the input is not a prompt: ${explain(parsed.error)}`)
    if (typeof parsed.data === 'string') return tokenizer.encode(parsed.data, true)
    refuseLooseSettings(parsed.data)
    if ('prompt' in parsed.data) return tokenizer.encode(parsed.data.prompt as string, true)
    if (!chat) throw new InputError(`the model has no chat template: ${NO_CHAT}`)
    const given = parsed.data
    const ofInput = { tools: given.tools ?? tools, documents: given.documents ?? documents }
    return tokenizer.encode(chat(given.messages, { ...toOptions(settings), ...ofInput }), false)
  }
}

const NO_CHAT = 'use a prompt instead of messages, or add a chat_template.jinja to its folder'
