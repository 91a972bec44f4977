import type { FailureBody } from '../error-bodies.ts'
import type { Named } from '../engine-translation.ts'
import type { ResponseRequest } from './request.ts'
import {
  ChatChunk,
  messageItem,
  newIds,
  responseObject,
  type Text,
  textPart,
  type Usage,
} from './response.ts'

/**
 * The events of a response that grows, framed, from the chunks of the chat that it is made of.
 *
 * @param chunks as JSON
 * @throws {ApiFailure}
 */
export async function* responseFrames(
  chunks: AsyncIterable<string>,
  request: ResponseRequest,
  named: Named,
): AsyncGenerator<string> {
  const ids = newIds()
  const place = { item_id: ids.message, output_index: 0, content_index: 0 }
  let sequence_number = 0
  const frame = (type: string, fields: object) =>
    frameOf({ type, sequence_number: sequence_number++, ...fields })
  let [text, finish, usage, begun] = ['', null as Text['finish'], null as Usage | null, false]
  for await (const chunk of chunks) {
    if (!begun) {
      begun = true
      yield* begin()
    }
    const { data } = ChatChunk.safeParse(JSON.parse(chunk))
    usage = data?.usage ?? usage
    const [choice] = data?.choices ?? []
    finish = choice?.finish_reason ?? finish
    const delta = choice?.delta.content ?? ''
    text += delta
    if (delta !== '') yield frame('response.output_text.delta', { ...place, delta, logprobs: [] })
  }
  if (!begun) yield* begin()
  yield* end({ text, finish, usage })

  function* begin(): Generator<string> {
    const response = responseObject(request, named, ids)
    yield frame('response.created', { response })
    yield frame('response.in_progress', { response })
    const item = messageItem(ids, 'in_progress', [])
    yield frame('response.output_item.added', { output_index: 0, item })
    yield frame('response.content_part.added', { ...place, part: textPart('') })
  }

  function* end(answer: Text): Generator<string> {
    const response = responseObject(request, named, ids, answer)
    const part = textPart(answer.text)
    yield frame('response.output_text.done', { ...place, text: answer.text, logprobs: [] })
    yield frame('response.content_part.done', { ...place, part })
    const item = messageItem(ids, 'completed', [part])
    yield frame('response.output_item.done', { output_index: 0, item })
    yield frame(`response.${response.status}`, { response })
  }
}

/** What went wrong behind the first event, as the last one. */
export function failureFrame({ error: { message, param, code } }: FailureBody): string {
  return frameOf({ type: 'error', message, param, code })
}

const frameOf = (event: { type: string } & Record<string, unknown>) =>
  `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
