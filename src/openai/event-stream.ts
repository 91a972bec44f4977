import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { TaskPart } from '../manager/services/jobs/task-parts.ts'
import { JsonText } from '../protocol/json/json-text.ts'
import { createChunkWriter, toChunks } from './stream-chunks.ts'
import { describeFailure, type FailureBody } from './error-bodies.ts'
import { AnswerGrowth, EventGrowth } from './growing-answer.ts'
import type { Endpoint, EndpointFunction } from './endpoint-functions.ts'
import type { Tool } from './tool-calls.ts'
import { type Named, readGenerated } from './engine-translation.ts'

/** What comes of a call that is followed: parts of its value, and then the value. */
export type Followed = AsyncIterable<TaskPart | JsonText>

export interface EventsOptions {
  route: EndpointFunction
  endpoint: Endpoint
  named: Named
  includeUsage: boolean
  /** Tools that the request offered. */
  tools: readonly Tool[]
}

/** The events of an answer, as JSON, as they come. @throws {ApiFailure} */
export function eventsOf(followed: Followed, options: EventsOptions): AsyncGenerator<string> {
  return options.route.speaks === 'engine' ? engineEvents(followed, options) : serverEvents(followed, options)
}

async function* engineEvents(
  followed: Followed,
  { endpoint, named, includeUsage, tools }: EventsOptions,
): AsyncGenerator<string> {
  const growth = new AnswerGrowth()
  const writer = createChunkWriter(endpoint, named, includeUsage, tools)
  for await (const each of followed) {
    const generated = each instanceof JsonText ? readGenerated(JSON.parse(each.text)) : undefined
    const grown = each instanceof JsonText ? growth.finish(generated!) : growth.take(each)
    const chunks = [
      ...grown.flatMap((each) => writer.grow(each)),
      ...(generated ? writer.finish(generated) : []),
    ]
    for (const chunk of chunks) yield JSON.stringify(chunk)
  }
}

async function* serverEvents(followed: Followed, { includeUsage }: EventsOptions): AsyncGenerator<string> {
  const growth = new EventGrowth()
  for await (const each of followed) {
    if (!(each instanceof JsonText)) {
      yield* growth.take(each)
      continue
    }
    const value: unknown = JSON.parse(each.text)
    if (Array.isArray(value)) yield* growth.finish(value)
    else
      for (const chunk of toChunks(value as Parameters<typeof toChunks>[0], includeUsage))
        yield JSON.stringify(chunk)
  }
}

const frameOf = (text: string) => `data: ${text}\n\n`

/** The frames of a stream of chunks. @param events as JSON */
export async function* chunkFrames(events: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const event of events) yield frameOf(event)
  yield frameOf('[DONE]')
}

/**
 * Sends the frames of events as they come. Until the first has come, what goes wrong is answered as for any other request; from
 * then on it is the last event.
 *
 * @throws {ApiFailure}
 */
export async function sendFrames(
  reply: FastifyReply,
  frames: AsyncGenerator<string>,
  failureFrame = (body: FailureBody): string => frameOf(JSON.stringify(body)),
): Promise<FastifyReply> {
  const first = await frames.next()
  return reply
    .type('text/event-stream; charset=utf-8')
    .header('cache-control', 'no-cache')
    .header('x-accel-buffering', 'no')
    .send(Readable.from(all(), { objectMode: false }))

  async function* all(): AsyncGenerator<string> {
    try {
      if (!first.done) yield first.value
      yield* frames
    } catch (error) {
      yield failureFrame(describeFailure(error).body)
    }
  }
}
