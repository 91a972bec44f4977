import type { JsonValue } from '../protocol/common.ts'
import { JsonText, textOf } from '../protocol/json-text.ts'
import { ApiFailure } from './failures.ts'
import type { Endpoint, Route } from './models.ts'
import { chatInput, completionInput, embeddingInputs } from './translation.ts'

/**
 * The input of the task that stands for a request.
 *
 * @throws {ApiFailure} 400 for what the engine cannot do
 */
export function taskInput(
  speaks: Route['speaks'],
  endpoint: Endpoint,
  body: Record<string, unknown>,
): JsonText {
  if (speaks === 'request') {
    // The answer comes in one piece whatever the client wants: a task has one value.
    const { stream: _, stream_options: __, ...request } = body
    return new JsonText(textOf(request))
  }
  return new JsonText(JSON.stringify(engineInput(endpoint, body)))
}

function engineInput(endpoint: Endpoint, body: unknown): JsonValue {
  if (endpoint === '/v1/chat/completions') return chatInput(body)
  if (endpoint === '/v1/completions') return completionInput(body)
  const { texts } = embeddingInputs(body)
  if (texts.length > 1)
    throw new ApiFailure(400, 'a request of a batch embeds one text: give each its own line', {
      param: 'input',
    })
  return texts[0]!
}
