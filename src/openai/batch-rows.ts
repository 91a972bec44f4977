import type { ResultRow } from '../protocol/client.ts'
import { explain } from '../protocol/primitives.ts'
import type { ContextSpec } from '../protocol/contexts/context.ts'
import { JsonText } from '../protocol/json/json-text.ts'
import { parseExactly, stringifyExactly } from '../protocol/json/exact-numbers.ts'
import { BatchLine } from './batch-lines.ts'
import { errorLine, resultLine } from './result-lines.ts'
import { ENDPOINTS, functionFor, type Endpoint } from './endpoint-functions.ts'
import { taskInput } from './task-input.ts'

/** Requests of a batch file as tasks of a context, and their results as lines of a batch's output. */
export interface RowDialect {
  readonly function: string
  readonly keyField: 'custom_id'
  /** @throws what is wrong with a row */
  toInput: (row: unknown) => unknown
  toRow: (result: ResultRow, row: unknown) => { isError: boolean; fields: Record<string, unknown> }
}

/**
 * How a context answers a file of requests, whose first one says which endpoint they are for.
 *
 * @throws {ApiFailure} if it does not answer that endpoint
 */
export function openRowDialect(context: ContextSpec, first: unknown): RowDialect {
  const endpoint = endpointOf(first)
  const { function: fn, speaks } = functionFor(context, endpoint)
  const named = { model: context.name, created: Math.floor(Date.now() / 1000) }
  return {
    function: fn,
    keyField: 'custom_id',
    toInput(row) {
      const { url, body } = readRequest(row)
      if (url !== endpoint) throw new Error(`has the url ${url}, and those before have ${endpoint}`)
      return parseExactly(taskInput(speaks, endpoint, body).text)
    },
    toRow({ key, status, value, error }, row) {
      const model = modelOf(row) ?? named.model
      const how = { speaks, endpoint, named: { ...named, model } }
      const line =
        status === 'done'
          ? resultLine(key, new JsonText(stringifyExactly(value) ?? 'null'), how)
          : errorLine(key, error)
      return { isError: line.isError, fields: parseExactly(line.text) as Record<string, unknown> }
    },
  }
}

function readRequest(row: unknown): BatchLine {
  const parsed = BatchLine.safeParse(row)
  if (parsed.success) return parsed.data
  throw new Error(`is no request of a batch: ${explain(parsed.error)}`)
}

function endpointOf(row: unknown): Endpoint {
  const { url } = (typeof row === 'object' && row !== null ? row : {}) as { url?: unknown }
  const found = ENDPOINTS.find((endpoint) => endpoint === url)
  if (found) return found
  throw new Error(
    `the first request has the url ${JSON.stringify(url)}: those that are answered are ${ENDPOINTS.join(', ')}`,
  )
}

function modelOf(row: unknown): string | undefined {
  const parsed = BatchLine.safeParse(row)
  return parsed.success ? parsed.data.body.model : undefined
}
