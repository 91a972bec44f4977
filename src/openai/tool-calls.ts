import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { type JsonValue, parseJson } from '../protocol/primitives.ts'
import { ApiFailure } from './error-bodies.ts'

/*
 * Models say which tool they want to be called as text, each family in a form of its own:
 *   Hermes, Qwen     <tool_call>{"name": …, "arguments": {…}}</tool_call>
 *   Mistral          [TOOL_CALLS] [{"name": …, "arguments": {…}}]
 *   Llama 3          {"name": …, "parameters": {…}}
 * Where the mark before it is a special token, it is no part of the text. A name that was not offered is no call.
 */

/** A tool that a model may have called. */
export const Tool = z.looseObject({
  type: z.literal('function'),
  function: z.looseObject({
    name: z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, 'use letters, digits, "_", "." and "-", 64 at most'),
    parameters: z.record(z.string(), z.unknown()).optional(),
  }),
})
export type Tool = z.output<typeof Tool>

/** A call as the API has it: arguments are JSON text. */
export interface ToolCall {
  id: string
  type: 'function'
  function: { name: string; arguments: string }
}

/** Which tools a request offers, and whether one must be called. */
export const ToolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    z.strictObject({ type: z.literal('function'), function: z.strictObject({ name: z.string() }) }),
  ],
  'expected "none", "auto", "required" or a function by its name',
)

/** What a request says of tools. */
interface Offer {
  tools?: readonly Tool[] | undefined
  tool_choice?: z.output<typeof ToolChoice> | undefined
}

/** The tools that the model is told of, and those of which it must call one. @throws {ApiFailure} 400 for a choice of none of them */
export function offeredTools({ tools = [], tool_choice = 'auto' }: Offer): {
  offered: Tool[]
  required: Tool[]
} {
  if (tool_choice === 'none') return { offered: [], required: [] }
  const offered = [...tools]
  if (tool_choice === 'auto') return { offered, required: [] }
  const required = offered.filter(
    ({ function: { name } }) => tool_choice === 'required' || name === tool_choice.function.name,
  )
  if (required.length === 0)
    throw new ApiFailure(400, '"tool_choice" asks for a tool that is not among "tools"', {
      param: 'tool_choice',
    })
  return { offered, required }
}

/** What a text says besides calls, and the calls. */
export interface ToolAnswer {
  content: string
  calls: ToolCall[]
}

const MARK = '<tool_call>'
const Said = z.object({
  name: z.string(),
  arguments: z.unknown().optional(),
  parameters: z.unknown().optional(),
})

/** Reads the calls in a finished text. One that is not whole, or of no tool that was offered, stays text. */
export function readToolCalls(text: string, tools: readonly Tool[]): ToolAnswer {
  const names = new Set(tools.map((tool) => tool.function.name))
  const blocks = [...text.matchAll(/<tool_call>([\s\S]*?)<\/tool_call>/g)]
  if (blocks.length > 0) {
    const calls = blocks.map(([, inside]) => toCall(parseJson(inside!), names))
    return areCalls(calls)
      ? { content: text.slice(0, text.indexOf(MARK)), calls }
      : { content: text, calls: [] }
  }
  const said = parseJson(text.trim().replace(/^\[TOOL_CALLS\]/, ''))
  const calls = (Array.isArray(said) ? said : [said]).map((each: unknown) => toCall(each, names))
  return calls.length > 0 && areCalls(calls) ? { content: '', calls } : { content: text, calls: [] }
}

const areCalls = (calls: (ToolCall | undefined)[]): calls is ToolCall[] =>
  calls.every((call) => call !== undefined)

function toCall(said: unknown, names: ReadonlySet<string>): ToolCall | undefined {
  const parsed = Said.safeParse(said)
  if (!parsed.success || !names.has(parsed.data.name)) return undefined
  const { name, arguments: given, parameters } = parsed.data
  const values = given ?? parameters ?? {}
  const text = typeof values === 'string' ? values : JSON.stringify(values)
  return {
    id: `call_${randomUUID().replaceAll('-', '')}`,
    type: 'function',
    function: { name, arguments: text },
  }
}

/** How much of a text that goes on is surely no call. */
export function plainLength(text: string): number {
  if (/^\s*(?:[[{]|$)/.test(text)) return 0
  const mark = text.indexOf(MARK)
  if (mark >= 0) return mark
  for (let at = Math.max(0, text.length - MARK.length + 1); at < text.length; at++)
    if (MARK.startsWith(text.slice(at))) return at
  return text.length
}

/** The schema of an answer that must be a call of one of these tools. */
export function callSchema(tools: readonly Tool[]): JsonValue {
  const anyOf = tools.map(({ function: { name, parameters = { type: 'object' } } }) => ({
    type: 'object',
    properties: { name: { const: name }, arguments: parameters as JsonValue },
    required: ['name', 'arguments'],
    additionalProperties: false,
  }))
  return { anyOf }
}
