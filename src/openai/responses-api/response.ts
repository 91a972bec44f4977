import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { ApiFailure } from '../error-bodies.ts'
import { newId } from '../file-store.ts'
import type { Named } from '../engine-translation.ts'
import type { ResponseRequest } from './request.ts'

const Usage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({ cached_tokens: z.int().nullish() }).nullish(),
})
export type Usage = z.output<typeof Usage>

/** An answer of any context to a chat, as far as responses have a place for it. */
const ChatAnswer = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({ content: z.string().nullish() }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
  usage: Usage.nullish(),
})

/** The same of one chunk of an answer that grows. */
export const ChatChunk = z.object({
  choices: z.array(
    z.object({
      delta: z.object({ content: z.string().nullish() }),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: Usage.nullish(),
})

/** What an answer has come to. */
export interface Text {
  text: string
  finish: string | null | undefined
  usage: Usage | null | undefined
}

/** @throws {ApiFailure} 500 if it is no answer to a chat */
export function readChatAnswer(answer: unknown): Text {
  const parsed = ChatAnswer.safeParse(answer)
  if (!parsed.success) throw new ApiFailure(500, "the model's function gave no answer to a chat")
  const { choices, usage } = parsed.data
  const { message, finish_reason } = choices[0]!
  return { text: message.content ?? '', finish: finish_reason, usage }
}

/** The ids of a response and of its one message. */
export interface ResponseIds {
  response: string
  message: string
}

export const newIds = (): ResponseIds => ({ response: newId('resp_'), message: `msg_${randomUUID()}` })

/** The message of a response. */
export const messageItem = (ids: ResponseIds, status: 'in_progress' | 'completed', content: object[]) => ({
  id: ids.message,
  type: 'message',
  role: 'assistant',
  status,
  content,
})

export const textPart = (text: string) => ({ type: 'output_text', text, annotations: [], logprobs: [] })

/** A response as the API describes it, of an answer that has ended, or that has yet to come. */
export function responseObject(
  request: ResponseRequest,
  { model, created }: Named,
  ids: ResponseIds,
  answer?: Text,
) {
  const isCut = answer?.finish === 'length'
  const status = answer === undefined ? 'in_progress' : isCut ? 'incomplete' : 'completed'
  return {
    id: ids.response,
    object: 'response' as const,
    created_at: created,
    status,
    access_programs: null,
    background: false,
    error: null,
    incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    model,
    output: answer === undefined ? [] : [messageItem(ids, 'completed', [textPart(answer.text)])],
    parallel_tool_calls: false,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: request.temperature ?? 1,
    text: { format: request.text?.format ?? { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: request.top_p ?? 1,
    truncation: 'disabled',
    usage: answer?.usage ? usageOf(answer.usage) : null,
    user: request.user ?? null,
    metadata: request.metadata ?? {},
  }
}

function usageOf({ prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details }: Usage) {
  return {
    input_tokens: prompt_tokens,
    input_tokens_details: { cached_tokens: prompt_tokens_details?.cached_tokens ?? 0 },
    output_tokens: completion_tokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens,
  }
}
