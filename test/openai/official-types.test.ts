import assert from 'node:assert/strict'
import { test } from 'node:test'
import type OpenAI from 'openai'
import type { BatchObject } from '../../src/openai/batches.ts'
import type { FileObject } from '../../src/openai/file-store.ts'
import { newIds, responseObject } from '../../src/openai/responses-api/response.ts'
import {
  chatResponse,
  completionResponse,
  embeddingResponse,
  readGenerated,
} from '../../src/openai/engine-translation.ts'

/** Names of properties that may not be left out. */
type Required<T> = { [K in keyof T]-?: object extends Pick<T, K> ? never : K }[keyof T]
/** All that `T` must have is in `Given`. */
type Has<T, Given> =
  Exclude<Required<T>, keyof Given> extends never ? true : Exclude<Required<T>, keyof Given>

const named = { model: 'm', created: 1 }
const generated = readGenerated({
  text: 'yes',
  tokens: { prompt: 3, generated: 1 },
  logprobs: [{ text: 'yes', logprob: -1, top: [{ text: 'yes', logprob: -1 }] }],
})

test('answers, files and batches have every property that the official client says they have', () => {
  // The types are what is tested, by the compiler; a property that is missing is named by its error.
  const chat: OpenAI.ChatCompletion = chatResponse(generated, named)
  const completion: OpenAI.Completion = completionResponse(generated, named)
  const embedding = embeddingResponse([{ embedding: [1] }], false, named)
  const response = responseObject({} as never, named, newIds())
  const complete: true[] = [
    true satisfies Has<OpenAI.CreateEmbeddingResponse, typeof embedding>,
    true satisfies Has<OpenAI.Embedding, (typeof embedding)['data'][number]>,
    // The client makes `output_text` itself.
    true satisfies Has<Omit<OpenAI.Responses.Response, 'output_text'>, typeof response>,
    true satisfies Has<OpenAI.FileObject, FileObject>,
    true satisfies Has<OpenAI.Batch, BatchObject>,
    true satisfies Has<OpenAI.BatchRequestCounts, BatchObject['request_counts']>,
  ]
  assert.equal(chat.choices[0]?.message.content, 'yes')
  assert.equal(completion.choices[0]?.text, 'yes')
  assert.deepEqual([embedding.data.length, response.status], [1, 'in_progress'])
  assert.ok(complete.every(Boolean))
})
