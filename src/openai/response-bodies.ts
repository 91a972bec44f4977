import type { JsonText } from '../protocol/json/json-text.ts'
import { ApiFailure } from './error-bodies.ts'
import type { Endpoint, EndpointFunction } from './endpoint-functions.ts'
import type { Tool } from './tool-calls.ts'
import { chatResponse, completionResponse, embeddingResponse, readGenerated } from './engine-translation.ts'

export interface ResponseOptions {
  speaks: EndpointFunction['speaks']
  endpoint: Endpoint
  named: { model: string; created: number }
  /** Tools that the request offered. */
  tools?: readonly Tool[]
  /** Embeddings as base64 of 32-bit floats. */
  base64?: boolean
}

/**
 * The answer to a request, as JSON, from what its task came to, or its tasks. What a server or a module answered itself goes on
 * as the text it is.
 *
 * @throws {ApiFailure} 500 if the values are not what the endpoint answers with
 */
export function responseOf(
  values: readonly JsonText[],
  { speaks, endpoint, named, base64 = false, tools = [] }: ResponseOptions,
): string {
  const [first] = values
  if (first === undefined) throw new ApiFailure(500, 'the call gave no value')
  if (speaks === 'request') {
    if (!first.text.startsWith('{'))
      throw new ApiFailure(500, "the model's function must return the API's answer, an object")
    return first.text
  }
  if (endpoint === '/v1/embeddings')
    return JSON.stringify(
      embeddingResponse(
        values.flatMap(({ text }) => JSON.parse(text) as unknown),
        base64,
        named,
      ),
    )
  const generated = readGenerated(JSON.parse(first.text))
  return JSON.stringify(
    endpoint === '/v1/chat/completions'
      ? chatResponse(generated, named, tools)
      : completionResponse(generated, named),
  )
}
