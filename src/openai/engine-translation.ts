import { randomInt, randomUUID } from 'node:crypto'
import { z } from 'zod'
import { type JsonValue, parseJson } from '../protocol/primitives.ts'
import { ApiFailure } from './error-bodies.ts'
import { callSchema, offeredTools, readToolCalls, type Tool } from './tool-calls.ts'
import {
  ChatRequest,
  CompletionRequest,
  EmbeddingRequest,
  read,
  type ResponseFormat,
} from './request-schemas.ts'

/*
 * Between the API's shapes and those of the engine for causal language models. What is asked for and cannot be done is
 * refused by name.
 */

/** The task's input that stands for a chat request. @param stream has the text come as it grows @throws {ApiFailure} 400 */
export function chatInput(body: unknown, stream = false): JsonValue {
  const request = read(ChatRequest, body)
  const { offered, required } = offeredTools(request)
  if (required.length > 0 && request.response_format)
    throw new ApiFailure(400, 'an answer that must call a tool has no "response_format"', {
      param: 'response_format',
    })
  const { messages, logprobs, top_logprobs, max_completion_tokens, chat_template_kwargs } = request
  return {
    messages: messages.map(toMessage),
    ...(offered.length > 0 && { tools: offered as JsonValue }),
    generation: settings(request, stream, {
      maxNewTokens: max_completion_tokens ?? request.max_tokens,
      logprobs: logprobs ? (top_logprobs ?? 0) : undefined,
      templateVariables: chat_template_kwargs,
      schema: required.length > 0 ? callSchema(required) : schemaOf(request.response_format),
    }),
  }
}

/** A message as templates take it: one text, and the arguments of calls as values. */
function toMessage({ content, tool_calls, ...message }: ChatRequest['messages'][number]): JsonValue {
  const calls = tool_calls?.map(({ function: called, ...call }) => ({
    ...call,
    function: { ...called, arguments: parseJson(called.arguments) ?? called.arguments },
  }))
  return { ...message, content: textOf(content), ...(calls && { tool_calls: calls }) } as unknown as JsonValue
}

function schemaOf(format: ResponseFormat | undefined): JsonValue | undefined {
  if (format === undefined || format.type === 'text') return undefined
  return format.type === 'json_object'
    ? { type: 'object' }
    : (format.json_schema.schema ?? { type: 'object' })
}

/** The same for a plain completion. @throws {ApiFailure} 400 */
export function completionInput(body: unknown, stream = false): JsonValue {
  const request = read(CompletionRequest, body)
  const own = { maxNewTokens: request.max_tokens ?? 16, logprobs: request.logprobs }
  return { prompt: request.prompt, generation: settings(request, stream, own) }
}

/** The texts of a request for embeddings, and how they are to be written. @throws {ApiFailure} 400 */
export function embeddingInputs(body: unknown): { texts: string[]; base64: boolean } {
  const { input, encoding_format } = read(EmbeddingRequest, body)
  return { texts: typeof input === 'string' ? [input] : input, base64: encoding_format === 'base64' }
}

/** A message's text: parts are put together as they follow each other. */
function textOf(content: ChatRequest['messages'][number]['content']): string {
  return typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join('')
}

function settings(
  request: ChatRequest | CompletionRequest,
  stream: boolean,
  own: Record<string, unknown>,
): JsonValue {
  const { stop } = request
  // What is being read must come out the same if a worker is lost and another one begins again.
  const seed = request.seed ?? (stream ? randomInt(2 ** 32) : undefined)
  const all = {
    temperature: request.temperature ?? 1,
    topP: request.top_p,
    topK: request.top_k,
    minP: request.min_p,
    repetitionPenalty: request.repetition_penalty,
    stop: typeof stop === 'string' ? [stop] : stop,
    seed,
    n: request.n,
    logitBias: request.logit_bias,
    presencePenalty: request.presence_penalty,
    frequencyPenalty: request.frequency_penalty,
    ...(stream && { stream }),
    ...own,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as JsonValue
}

/** One token of an answer, with its logarithmic probability. */
const Logprob = z.object({ text: z.string(), logprob: z.number() })
const TokenLogprob = Logprob.extend({ top: z.array(Logprob) })
export type TokenLogprob = z.output<typeof TokenLogprob>
const Answer = z.object({
  text: z.string(),
  finish: z.enum(['stop', 'length']).default('stop'),
  logprobs: z.array(TokenLogprob).optional(),
})
/** What an engine gives of an answer ahead of it. */
export const AnswerPart = Answer.omit({ finish: true }).extend({ answer: z.int().default(0) })
export type AnswerPart = z.output<typeof AnswerPart>
const Tokens = z.object({ prompt: z.int(), generated: z.int() })
/** The value of a call that generates: one answer, or several to one prompt. */
const Generated = z.union([
  z.object({ answers: z.array(Answer).min(1), tokens: Tokens }),
  Answer.extend({ tokens: Tokens }).transform(({ tokens, ...answer }) => ({ answers: [answer], tokens })),
])
export type Generated = z.output<typeof Generated>

/** @throws {ApiFailure} 500 if the function's value is none that an engine gives */
export function readGenerated(value: unknown): Generated {
  const parsed = Generated.safeParse(value)
  if (parsed.success) return parsed.data
  throw new ApiFailure(500, "the model's function gave no generated text")
}

export interface Named {
  model: string
  /** Seconds since 1970. */
  created: number
}

export const usageOf = ({ tokens: { prompt, generated } }: Generated) => ({
  prompt_tokens: prompt,
  completion_tokens: generated,
  total_tokens: prompt + generated,
})

/** An answer to `POST /v1/chat/completions`. */
export function chatResponse(generated: Generated, { model, created }: Named, tools: readonly Tool[] = []) {
  return {
    id: `chatcmpl-${randomUUID()}`,
    object: 'chat.completion' as const,
    created,
    model,
    choices: generated.answers.map(({ text, finish, logprobs }, index) => {
      const { content, calls } = readToolCalls(text, tools)
      const called = calls.length > 0
      return {
        index,
        message: {
          role: 'assistant' as const,
          content: called && content === '' ? null : content,
          refusal: null,
          ...(called && { tool_calls: calls }),
        },
        logprobs: chatLogprobs(logprobs),
        finish_reason: called ? ('tool_calls' as const) : finish,
      }
    }),
    usage: usageOf(generated),
  }
}

/** Probabilities of tokens as the chat endpoint writes them. */
export function chatLogprobs(logprobs: readonly TokenLogprob[] | undefined) {
  if (!logprobs) return null
  const entry = ({ text, logprob }: z.output<typeof Logprob>) => ({
    token: text,
    logprob,
    bytes: [...Buffer.from(text)],
  })
  return {
    content: logprobs.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) })),
    refusal: null,
  }
}

/** An answer to `POST /v1/completions`. */
export function completionResponse(generated: Generated, { model, created }: Named) {
  return {
    id: `cmpl-${randomUUID()}`,
    object: 'text_completion' as const,
    created,
    model,
    choices: generated.answers.map(({ text, finish, logprobs }, index) => ({
      index,
      text,
      logprobs: textLogprobs(logprobs),
      finish_reason: finish,
    })),
    usage: usageOf(generated),
  }
}

/** The same as the endpoint for plain completions writes them. @param offset of the first token in the text */
export function textLogprobs(logprobs: readonly TokenLogprob[] | undefined, offset = 0) {
  if (!logprobs) return null
  const texts = logprobs.map(({ text }) => text)
  let at = offset
  return {
    tokens: texts,
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) =>
      Object.fromEntries(top.map(({ text, logprob }) => [text, logprob])),
    ),
    text_offset: texts.map((text) => (at += text.length) - text.length),
  }
}

/** The value of a call that embeds one text. */
const Embedded = z.object({ embedding: z.array(z.number()), tokens: z.int().optional() })

/** An answer to `POST /v1/embeddings`. @throws {ApiFailure} 500 if a value is no embedding */
export function embeddingResponse(values: readonly unknown[], base64: boolean, { model }: Named) {
  const all = z.array(Embedded).safeParse(values)
  if (!all.success) throw new ApiFailure(500, "the model's function gave no embedding")
  const tokens = all.data.reduce((sum, each) => sum + (each.tokens ?? 0), 0)
  return {
    object: 'list' as const,
    model,
    data: all.data.map(({ embedding }, index) => ({
      object: 'embedding' as const,
      index,
      embedding: base64 ? Buffer.from(Float32Array.from(embedding).buffer).toString('base64') : embedding,
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  }
}
