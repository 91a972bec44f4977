import { z } from 'zod'
import { Json } from '../../protocol/primitives.ts'
import { type Addressed, optional, type ResponseFormat } from '../request-schemas.ts'

/* `POST /v1/responses`, as far as it is a chat that is asked for in other words. What goes beyond is refused by name. */

const Part = z.looseObject({ type: z.enum(['input_text', 'output_text']), text: z.string() })

const Message = z.looseObject({
  type: z.literal('message').optional(),
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.union([z.string(), z.array(Part)]),
})

const Input = z.union(
  [z.string(), z.array(Message).min(1)],
  'expected a text, or a list of messages with texts or parts of type "input_text" and "output_text"',
)

const Format = z.union(
  [
    z.strictObject({ type: z.enum(['text', 'json_object']) }),
    z.strictObject({
      type: z.literal('json_schema'),
      name: z.string(),
      description: z.string().optional(),
      schema: z.record(z.string(), Json),
      strict: z.boolean().nullish(),
    }),
  ],
  'expected {type: "text"}, {type: "json_object"} or {type: "json_schema", name, schema}',
)

/** A request for a response. Nothing is kept of it: `store` may be false, and none goes on from an earlier one. */
export const ResponseRequest = z.strictObject({
  model: z.string().min(1).max(200),
  input: Input,
  instructions: optional(z.string()),
  max_output_tokens: optional(z.int().min(1).max(100_000)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  text: optional(z.strictObject({ format: optional(Format) })),
  stream: optional(z.boolean()),
  store: optional(z.literal(false, 'responses are not stored: say false')),
  truncation: optional(z.literal('disabled')),
  metadata: optional(z.record(z.string().max(64), z.string().max(512))),
  user: optional(z.string()),
})
export type ResponseRequest = z.output<typeof ResponseRequest>

/** The chat that a response is made of. */
export function chatBody(request: ResponseRequest): Addressed {
  const { model, input, instructions, max_output_tokens, temperature, top_p, text, stream, user } = request
  const asked = typeof input === 'string' ? [{ role: 'user', content: input }] : input.map(toMessage)
  const system = instructions === undefined ? [] : [{ role: 'system', content: instructions }]
  const all = {
    model,
    messages: [...system, ...asked],
    max_completion_tokens: max_output_tokens,
    temperature,
    top_p,
    response_format: text?.format && toResponseFormat(text.format),
    user,
    ...(stream && { stream, stream_options: { include_usage: true } }),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Addressed
}

function toMessage({ role, content }: z.output<typeof Message>) {
  return { role, content: typeof content === 'string' ? content : content.map(({ text }) => text).join('') }
}

function toResponseFormat(format: z.output<typeof Format>): ResponseFormat {
  if (format.type !== 'json_schema') return format
  const { type, ...json_schema } = format
  return { type, json_schema }
}
