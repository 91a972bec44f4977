import type { JsonValue } from '../protocol/primitives.ts'
import { JsonText, textOf } from '../protocol/json/json-text.ts'
import { ApiFailure } from './error-bodies.ts'
import type { Endpoint, EndpointFunction } from './endpoint-functions.ts'
import { chatInput, completionInput, embeddingInputs } from './engine-translation.ts'

/**
 * The input of the task that stands for a request.
 *
 * @param streams whether the answer is to come as it grows
 * @throws {ApiFailure} 400 for what the engine cannot do
 */
export function taskInput(
  speaks: EndpointFunction['speaks'],
  endpoint: Endpoint,
  body: Record<string, unknown>,
  streams = false,
): JsonText {
  if (speaks === 'engine') return new JsonText(JSON.stringify(engineInput(endpoint, body, streams)))
  if (streams) return new JsonText(textOf(body))
  // The answer comes in one piece whatever the client wants.
  const { stream: _, stream_options: __, ...request } = body
  return new JsonText(textOf(request))
}

function engineInput(endpoint: Endpoint, body: unknown, streams: boolean): JsonValue {
  if (endpoint === '/v1/chat/completions') return chatInput(body, streams)
  if (endpoint === '/v1/completions') return completionInput(body, streams)
  const { texts } = embeddingInputs(body)
  if (texts.length > 1)
    throw new ApiFailure(400, 'a request of a batch embeds one text: give each its own line', {
      param: 'input',
    })
  return texts[0]!
}
