import { z } from 'zod'
import { explain, type JsonValue } from '../../../protocol/common.ts'
import type { GenerateFunction } from '../../../protocol/context.ts'
import { ContextFilesError, InputError } from '../../../common/task-errors.ts'
import { compileTemplate } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Makes a task's input the tokens of a prompt. Throws an {@link InputError} if it cannot. */
export type Prompter = (input: JsonValue) => number[]

/** The inputs of a function that has no template of its own. */
const FreeInput = z.union(
  [
    z.string(),
    z.object({ prompt: z.string() }),
    z.object({ messages: z.array(z.object({ role: z.string(), content: z.string() })).min(1) }),
  ],
  'expected a string, {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}',
)

/** Compiles a function's templates. Its prompts have 1 to `maxTokens` tokens, each below `vocabSize`. */
export function createPrompter(
  { messages, prompt }: Pick<GenerateFunction, 'messages' | 'prompt'>,
  tokenizer: Tokenizer,
  { maxTokens, vocabSize }: { maxTokens: number; vocabSize: number },
): Prompter {
  const toTokens = createEncoder({ messages, prompt }, tokenizer)
  return (input) => {
    const tokens = toTokens(input)
    if (tokens.length === 0) throw new InputError('the prompt is empty')
    if (tokens.length > maxTokens) {
      throw new InputError(
        `the prompt has ${tokens.length} tokens, of which ${maxTokens} are allowed: shorten the input`,
      )
    }
    const strange = tokens.find((token) => token >= vocabSize)
    if (strange !== undefined)
      throw new InputError(`the model has no token ${strange}, which its tokenizer gave`)
    return tokens
  }
}

function createEncoder(
  { messages, prompt }: Pick<GenerateFunction, 'messages' | 'prompt'>,
  tokenizer: Tokenizer,
): Prompter {
  const { chat } = tokenizer
  if (messages) {
    if (!chat) throw new ContextFilesError(`the model has no chat template: ${NO_CHAT}`)
    const templates = messages.map(({ role, content }) => ({ role, render: compileTemplate(content) }))
    return (input) => {
      const rendered = templates.map(({ role, render }) => ({ role, content: render(input) }))
      return tokenizer.encode(chat(rendered), false)
    }
  }
  if (prompt !== undefined) {
    const render = compileTemplate(prompt)
    return (input) => tokenizer.encode(render(input), true)
  }
  return (input) => {
    const parsed = FreeInput.safeParse(input)
    if (!parsed.success) throw new InputError(`the input is not a prompt: ${explain(parsed.error)}`)
    if (typeof parsed.data === 'string') return tokenizer.encode(parsed.data, true)
    if ('prompt' in parsed.data) return tokenizer.encode(parsed.data.prompt, true)
    if (!chat) throw new InputError(`the model has no chat template: ${NO_CHAT}`)
    return tokenizer.encode(chat(parsed.data.messages), false)
  }
}

const NO_CHAT = 'use a prompt instead of messages, or add a chat_template.jinja to its folder'
