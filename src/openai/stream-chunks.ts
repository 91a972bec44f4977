import { randomUUID } from 'node:crypto'
import type { Endpoint } from './endpoint-functions.ts'
import { plainLength, readToolCalls, type Tool } from './tool-calls.ts'
import type { Growth } from './growing-answer.ts'
import {
  chatLogprobs,
  type chatResponse,
  type completionResponse,
  type Generated,
  type Named,
  textLogprobs,
  usageOf,
} from './engine-translation.ts'

/** Writes an answer as the events of a stream. */
export interface ChunkWriter {
  /** The chunks of what has come to an answer. */
  grow(growth: Growth): object[]
  /** The last chunks: how each answer ended, and, if asked for, what all cost. */
  finish(generated: Generated): object[]
}

/** @param includeUsage whether what the answer cost is asked for */
export function createChunkWriter(
  endpoint: Endpoint,
  named: Named,
  includeUsage: boolean,
  tools: readonly Tool[],
): ChunkWriter {
  const isChat = endpoint === '/v1/chat/completions'
  const head = {
    id: `${isChat ? 'chatcmpl' : 'cmpl'}-${randomUUID()}`,
    object: isChat ? 'chat.completion.chunk' : 'text_completion',
    ...{ created: named.created, model: named.model },
    ...(includeUsage && { usage: null }),
  }
  const begun = new Set<number>()
  /** The texts so far, and how much of each was shown, where what comes may be a call of a tool. */
  const texts = new Map<number, { text: string; shown: number }>()
  const chunk = (choice: object) => ({ ...head, choices: [choice] })
  /** The first chunk of a chat says who speaks. */
  const begin = (index: number): object[] => {
    if (!isChat || begun.has(index)) return []
    begun.add(index)
    const delta = { role: 'assistant', content: '', refusal: null }
    return [chunk({ index, delta, logprobs: null, finish_reason: null })]
  }
  /** What of a text that goes on is no call of a tool. */
  const plainText = (index: number, text: string): string => {
    if (tools.length === 0) return text
    const known = texts.get(index) ?? { text: '', shown: 0 }
    known.text += text
    texts.set(index, known)
    const plain = known.text.slice(known.shown, plainLength(known.text))
    known.shown += plain.length
    return plain
  }
  /** The rest of a finished text, and its calls. */
  const callsOf = (index: number): object[] => {
    const { text, shown } = texts.get(index) ?? { text: '', shown: 0 }
    const { content, calls } = readToolCalls(text, tools)
    const deltas = [
      ...(content.length > shown ? [{ content: content.slice(shown) }] : []),
      ...(calls.length > 0 ? [{ tool_calls: calls.map((call, at) => ({ index: at, ...call })) }] : []),
    ]
    return deltas.map((delta) => chunk({ index, delta, logprobs: null, finish_reason: null }))
  }
  return {
    grow({ answer: index, text: grown, logprobs, at }) {
      const text = plainText(index, grown)
      const first = begin(index)
      if (text === '' && !logprobs) return first
      const choice = isChat
        ? { index, delta: { content: text }, logprobs: chatLogprobs(logprobs) }
        : { index, text, logprobs: textLogprobs(logprobs, at) }
      return [...first, chunk({ ...choice, finish_reason: null })]
    },
    finish(generated) {
      const ends = generated.answers.flatMap(({ finish, text }, index) => {
        const called = readToolCalls(text, tools).calls.length > 0
        const end = { ...(isChat ? { delta: {} } : { text: '' }), logprobs: null }
        return [
          ...begin(index),
          ...callsOf(index),
          chunk({ index, ...end, finish_reason: called ? 'tool_calls' : finish }),
        ]
      })
      return includeUsage ? [...ends, { ...head, choices: [], usage: usageOf(generated) }] : ends
    },
  }
}

type Completion = ReturnType<typeof chatResponse> | ReturnType<typeof completionResponse>

/** The chunks of an answer that came in one piece, from a context that speaks the API itself. */
export function toChunks(response: Completion, includeUsage: boolean): object[] {
  const { id, created, model, usage } = response
  const object = response.object === 'chat.completion' ? 'chat.completion.chunk' : response.object
  const head = { id, object, created, model, ...(includeUsage && { usage: null }) }
  const chunks = response.choices.flatMap((choice): object[] => {
    const { index, logprobs, finish_reason } = choice
    if (!('message' in choice)) return [{ ...head, choices: [choice] }]
    const delta = { ...choice.message }
    return [
      { ...head, choices: [{ index, delta, logprobs, finish_reason: null }] },
      { ...head, choices: [{ index, delta: {}, logprobs: null, finish_reason }] },
    ]
  })
  return includeUsage ? [...chunks, { ...head, choices: [], usage }] : chunks
}
