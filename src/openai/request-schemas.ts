import { z } from 'zod'
import { explain, Json } from '../protocol/primitives.ts'
import { ApiFailure } from './error-bodies.ts'
import { Tool, ToolChoice } from './tool-calls.ts'

/** Texts of a message may come in parts; pictures and sound have no engine here. */
const Part = z.strictObject({ type: z.literal('text'), text: z.string() })
const Content = z.union([z.string(), z.array(Part)], 'expected a text, or a list of parts of type "text"')

const Message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: Content.nullish(),
  tool_calls: z
    .array(z.looseObject({ function: z.looseObject({ name: z.string(), arguments: z.string() }) }))
    .optional(),
})

/** `null` means the same as leaving a field out. */
export const optional = <T extends z.ZodType>(schema: T) =>
  schema.nullish().transform((value) => value ?? undefined)

const Stop = z.union([z.string().min(1), z.array(z.string().min(1)).max(64)])

/** Longest schema, characters: it is compiled before anything else is computed. */
const SCHEMA_MAX = 64 << 10

/** What chat and plain completions have in common. */
const sampling = {
  model: z.string().min(1).max(200),
  max_tokens: optional(z.int().min(1).max(100_000)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  /** Not of OpenAI's API, but taken by most servers that speak it. */
  top_k: optional(z.int().min(1)),
  min_p: optional(z.number().min(0).max(1)),
  repetition_penalty: optional(z.number().gt(0).max(100)),
  stop: optional(Stop),
  seed: optional(z.int()),
  n: optional(z.int().min(1).max(128)),
  logit_bias: optional(z.record(z.string().regex(/^\d{1,7}$/), z.number().min(-100).max(100))),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  stream: optional(z.boolean()),
  stream_options: optional(z.strictObject({ include_usage: z.boolean().optional() })),
  user: optional(z.string()),
}

/** What the answer must be; a schema is looked at by the engine. */
const ResponseFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    json_schema: z.strictObject({
      name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'use letters, digits, "_" and "-", 64 at most'),
      description: z.string().optional(),
      schema: z
        .record(z.string(), Json)
        .optional()
        .refine(
          (schema) => JSON.stringify(schema ?? {}).length <= SCHEMA_MAX,
          `has more than ${SCHEMA_MAX} characters`,
        ),
      strict: z.boolean().nullish(),
    }),
  }),
])
export type ResponseFormat = z.output<typeof ResponseFormat>

/** `POST /v1/chat/completions` to a model that this system runs itself. */
export const ChatRequest = z.strictObject({
  ...sampling,
  messages: z.array(Message).min(1),
  max_completion_tokens: optional(z.int().min(1).max(100_000)),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  tools: optional(z.array(Tool).max(128)),
  tool_choice: optional(ToolChoice),
  response_format: optional(ResponseFormat),
  chat_template_kwargs: optional(z.record(z.string(), Json)),
})
export type ChatRequest = z.output<typeof ChatRequest>

/** `POST /v1/completions` likewise. */
export const CompletionRequest = z.strictObject({
  ...sampling,
  prompt: z.string(),
  logprobs: optional(z.int().min(0).max(20)),
})
export type CompletionRequest = z.output<typeof CompletionRequest>

/** `POST /v1/embeddings` likewise. */
export const EmbeddingRequest = z.strictObject({
  model: z.string().min(1).max(200),
  input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(2048)]),
  encoding_format: optional(z.enum(['float', 'base64'])),
  user: optional(z.string()),
})
export type EmbeddingRequest = z.output<typeof EmbeddingRequest>

/** What any request says, whatever engine it goes to. */
const Addressed = z.looseObject({
  model: z.string().min(1).max(200),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
})
export type Addressed = z.output<typeof Addressed>

/** @throws {ApiFailure} 400 if it does not even name a model */
export function readAddress(body: unknown): Addressed {
  read(Addressed, body)
  // Not a copy: a key `__proto__` would be lost in it, and is refused where no such field is known.
  return body as Addressed
}

/** What came in, as its schema says. @throws {ApiFailure} 400 that names the field */
export function read<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const param = unknown ?? issue?.path.join('.')
  const message =
    unknown === undefined ? explain(parsed.error) : `"${unknown}" cannot be done by this model's engine`
  throw new ApiFailure(400, message, { ...(param ? { param } : {}), code: 'invalid_request' })
}
