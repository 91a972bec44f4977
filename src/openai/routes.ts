import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { z } from 'zod'
import { RequestError } from '../manager/http/api-errors.ts'
import type { Access, ApiKeys } from '../manager/services/api-keys.ts'
import type { Contexts } from '../manager/services/contexts/contexts.ts'
import type { Jobs } from '../manager/services/jobs/jobs.ts'
import type { TaskParts } from '../manager/services/jobs/task-parts.ts'
import type { ContextSpec } from '../protocol/contexts/context.ts'
import { JsonText } from '../protocol/json/json-text.ts'
import { accessOf, allows, invalidKey, keyOnly, requireModel } from './access.ts'
import { Batches, CreateBatch } from './batches.ts'
import { chunkFrames, eventsOf, sendFrames } from './event-stream.ts'
import { ApiFailure, describeFailure } from './error-bodies.ts'
import { FileStore, secondsNow } from './file-store.ts'
import {
  ENDPOINTS,
  type Endpoint,
  isModel,
  type EndpointFunction,
  functionFor,
} from './endpoint-functions.ts'
import { offeredTools, type Tool } from './tool-calls.ts'
import { type Addressed, ChatRequest, read, readAddress } from './request-schemas.ts'
import { failureFrame, responseFrames } from './responses-api/events.ts'
import { chatBody, ResponseRequest } from './responses-api/request.ts'
import { newIds, readChatAnswer, responseObject } from './responses-api/response.ts'
import { responseOf } from './response-bodies.ts'
import { SingleCalls } from './interactive-requests.ts'
import { taskInput } from './task-input.ts'
import { embeddingInputs, type Named } from './engine-translation.ts'

/** Largest file that is taken in, bytes. */
const FILE_MAX = 16 * 2 ** 30

export interface OpenAiOptions {
  jobs: Jobs
  contexts: Contexts
  parts: TaskParts
  /** Hash of the user's token. */
  user: Uint8Array
  keys: ApiKeys
  /** Holds the files and batches. */
  folder: string
  log: Logger
}

const PageQuery = z.object({
  after: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(20),
})
const IdParams = z.object({ id: z.string().max(100) })
const ModelParams = z.object({ model: z.string().max(200) })

/** The OpenAI API over the manager's services: a model is a context, a request a task, a batch a job. */
export async function openAiRoutes(server: FastifyInstance, options: OpenAiOptions): Promise<void> {
  const { jobs, contexts, parts, folder, log } = options
  const files = await FileStore.open(`${folder}/files`)
  const batches = await Batches.open({ folder: `${folder}/batches`, files, jobs, contexts, log })
  const calls = new SingleCalls({ jobs, parts, log })
  await calls.clear()
  server.addHook('preClose', async () => {
    await Promise.all([batches.close(), calls.close()])
  })
  await server.register(multipart, { limits: { files: 1, fileSize: FILE_MAX, fields: 10, fieldSize: 1000 } })

  server.setErrorHandler((error, request, reply) => {
    const { status, body } = describeFailure(error)
    if (status >= 500) request.log.error({ err: error }, 'a request of the API failed')
    if (status === 429 || status === 503) reply.header('retry-after', '2')
    return reply.status(status).send(body)
  })
  server.addHook('onRequest', (request, reply, done) => {
    // Clients show it with their errors, and the log says it with its own.
    reply.header('x-request-id', request.id)
    done()
  })
  server.addHook('onRequest', keyOnly(options.user, options.keys))

  const answering = { contexts, calls, keys: options.keys }
  modelRoutes(server, contexts)
  for (const endpoint of ENDPOINTS)
    server.post(endpoint, (request, reply) => answer(answering, endpoint, request, reply))
  server.post('/v1/responses', (request, reply) => respond(answering, request, reply))
  fileRoutes(server, files, options.keys)
  batchRoutes(server, batches)
}

function modelRoutes(server: FastifyInstance, contexts: Contexts): void {
  const view = ({ name }: ContextSpec) => ({ id: name, object: 'model', created: 0, owned_by: 'gleaner' })
  server.get('/v1/models', (request) => {
    const access = accessOf(request)
    const models = contexts.list().filter((context) => isModel(context) && allows(access, context.name))
    return { object: 'list', data: models.map(view) }
  })
  server.get('/v1/models/:model', (request) => {
    const { model } = read(ModelParams, request.params)
    return view(modelOf(contexts, model, accessOf(request)))
  })
}

/** @throws {ApiFailure} 403 for a model that the key is not for, 404 that lists the models there are */
function modelOf(contexts: Contexts, name: string, access: Access): ContextSpec {
  requireModel(access, name)
  const models = contexts.list().filter(isModel)
  const found = models.find((context) => context.name === name)
  if (found) return found
  // Those of the configuration may be on their way.
  if (!contexts.list().some((context) => context.name === name)) requireKnown(contexts, name)
  const known = models.map((context) => context.name).join(', ') || 'none'
  throw new ApiFailure(404, `there is no model "${name}" (models: ${known})`, {
    param: 'model',
    code: 'model_not_found',
  })
}

/** @throws what is said of a context that cannot be had, unless there is none of that name */
function requireKnown(contexts: Contexts, name: string): void {
  try {
    contexts.named(name)
  } catch (error) {
    if (!(error instanceof RequestError && error.status === 404)) throw error
  }
}

interface Answering {
  contexts: Contexts
  calls: SingleCalls
  keys: ApiKeys
}

/** A request, and what answers it. */
interface Asked {
  body: Addressed
  endpoint: Endpoint
  context: ContextSpec
  route: EndpointFunction
  named: Named
  tools: readonly Tool[]
  /** The client has gone, or its key was revoked; its reason is an ApiFailure. */
  gone: AbortSignal
}

/** @throws {ApiFailure} */
function prepare(
  { contexts, keys }: Answering,
  endpoint: Endpoint,
  body: Addressed,
  request: FastifyRequest,
  reply: FastifyReply,
): Asked {
  const access = accessOf(request)
  const context = modelOf(contexts, body.model, access)
  const route = functionFor(context, endpoint)
  const gone = new AbortController()
  const forgetKey = keys.endWhenRevoked(access, () => gone.abort(invalidKey('the API key was revoked')))
  reply.raw.once('close', () => {
    forgetKey()
    if (!reply.raw.writableFinished) gone.abort(new ApiFailure(408, 'the client is gone'))
  })
  const named = { model: context.name, created: secondsNow() }
  const tools =
    route.speaks === 'engine' && endpoint === '/v1/chat/completions'
      ? offeredTools(read(ChatRequest, body)).offered
      : []
  return { body, endpoint, context, route, named, tools, gone: gone.signal }
}

async function answer(
  answering: Answering,
  endpoint: Endpoint,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { calls } = answering
  const asked = prepare(answering, endpoint, readAddress(request.body), request, reply)
  if (asked.body.stream && endpoint !== '/v1/embeddings')
    return sendFrames(reply, chunkFrames(growing(calls, asked)))
  return reply.type('application/json').send(await whole(calls, asked))
}

/** A response is a chat in other words, whatever answers it. */
async function respond(
  answering: Answering,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { calls } = answering
  const wanted = read(ResponseRequest, request.body)
  const asked = prepare(answering, '/v1/chat/completions', chatBody(wanted), request, reply)
  if (wanted.stream)
    return sendFrames(reply, responseFrames(growing(calls, asked), wanted, asked.named), failureFrame)
  const text = readChatAnswer(JSON.parse(await whole(calls, asked)))
  return reply.send(responseObject(wanted, asked.named, newIds(), text))
}

/** The chunks of an answer as they come, as JSON. */
function growing(calls: SingleCalls, asked: Asked): AsyncGenerator<string> {
  const { body, endpoint, context, route, named, tools, gone } = asked
  const input = taskInput(route.speaks, endpoint, body, route.streams)
  const followed = calls.follow(context, route.function, input, gone)
  const includeUsage = body.stream_options?.include_usage ?? false
  return eventsOf(followed, { route, endpoint, named, includeUsage, tools })
}

/** An answer in one piece, as JSON. */
async function whole(calls: SingleCalls, asked: Asked): Promise<string> {
  const { body, endpoint, context, route, named, tools, gone } = asked
  const values = await valuesOf(calls, context, route, endpoint, body, gone)
  const base64 = body['encoding_format'] === 'base64'
  return responseOf(values, { speaks: route.speaks, endpoint, named, base64, tools })
}

/** What the tasks of a request come to: one, but for a list of texts to embed. */
function valuesOf(
  calls: SingleCalls,
  context: ContextSpec,
  { function: fn, speaks }: EndpointFunction,
  endpoint: Endpoint,
  body: Record<string, unknown>,
  signal: AbortSignal,
): Promise<JsonText[]> {
  const inputs =
    speaks === 'engine' && endpoint === '/v1/embeddings'
      ? embeddingInputs(body).texts.map((text) => new JsonText(JSON.stringify(text)))
      : [taskInput(speaks, endpoint, body)]
  return Promise.all(inputs.map((input) => calls.call(context, fn, input, signal)))
}

function fileRoutes(server: FastifyInstance, files: FileStore, keys: ApiKeys): void {
  server.post('/v1/files', async (request) => {
    if (!request.isMultipart())
      throw new ApiFailure(400, 'expected a form (multipart/form-data) with "purpose" and "file"')
    let purpose: unknown
    for await (const part of partsOf(request)) {
      if (part.type === 'field') {
        if (part.fieldname === 'purpose') purpose = part.value
        continue
      }
      if (purpose !== undefined && purpose !== 'batch') throw wrongPurpose()
      const { file, filename } = part
      const owner = accessOf(request).key ?? null
      const about = { filename: filename.slice(0, 255), purpose: 'batch' as const, owner }
      let broken: Error | undefined
      file.once('error', (error) => (broken = error))
      const adding = files.add(file, about, () => {
        if (file.truncated)
          throw new ApiFailure(413, `the file has more than ${FILE_MAX} bytes`, { param: 'file' })
      })
      return await adding.catch((error: unknown) => {
        throw broken !== undefined && error === broken ? brokenForm(broken) : error
      })
    }
    throw new ApiFailure(400, 'the form has no file', { param: 'file' })
  })
  const fileOf = (request: FastifyRequest) => files.get(read(IdParams, request.params).id, accessOf(request))
  server.get('/v1/files', (request) => page(files.list(accessOf(request)), request.query))
  server.get('/v1/files/:id', (request) => fileOf(request))
  server.delete('/v1/files/:id', async (request) => {
    const { id } = fileOf(request)
    await files.remove(id)
    return { id, object: 'file', deleted: true }
  })
  server.get('/v1/files/:id/content', (request, reply) => {
    const { id, bytes } = fileOf(request)
    reply.raw.once(
      'close',
      keys.endWhenRevoked(accessOf(request), () => reply.raw.destroy()),
    )
    return reply.type('application/octet-stream').header('content-length', bytes).send(files.read(id))
  })
}

/** The parts of a form. @throws {ApiFailure} 400 if it is none, or breaks off */
async function* partsOf(request: FastifyRequest) {
  try {
    yield* request.parts()
  } catch (error) {
    throw (error as { statusCode?: number }).statusCode === undefined ? brokenForm(error as Error) : error
  }
}

const brokenForm = ({ message }: Error) => new ApiFailure(400, `the form cannot be read: ${message}`)

const wrongPurpose = () => new ApiFailure(400, 'the purpose of a file must be "batch"', { param: 'purpose' })

function batchRoutes(server: FastifyInstance, batches: Batches): void {
  const idOf = ({ params }: FastifyRequest) => read(IdParams, params).id
  server.post('/v1/batches', (request) => batches.create(read(CreateBatch, request.body), accessOf(request)))
  server.get('/v1/batches', (request) => page(batches.list(accessOf(request)), request.query))
  server.get('/v1/batches/:id', (request) => batches.get(idOf(request), accessOf(request)))
  server.post('/v1/batches/:id/cancel', (request) => batches.cancel(idOf(request), accessOf(request)))
}

/** One page of a list: those after a cursor, which is an id. */
function page<T extends { id: string }>(all: readonly T[], query: unknown) {
  const { after, limit } = read(PageQuery, query)
  const start = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1
  const data = all.slice(start, start + limit)
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: start + data.length < all.length,
  }
}
