import { z } from 'zod'
import { RequestError } from '../manager/http/api-errors.ts'
import { parseJson } from '../protocol/primitives.ts'
import type { ServerRefusal, TaskError } from '../protocol/task.ts'

/** What the API's own clients make their exceptions of. */
export interface FailureBody {
  error: { message: string; type: string; param: string | null; code: string | null }
}

/** A refusal in the shape of the OpenAI API. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure'
  readonly status: number
  readonly param: string | null
  readonly code: string | null

  /** @param param the field of the request that is at fault */
  constructor(status: number, message: string, options: { param?: string; code?: string } = {}) {
    super(message)
    this.status = status
    this.param = options.param ?? null
    this.code = options.code ?? null
  }
}

const TYPES: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  429: 'rate_limit_error',
}

/** Any refusal as status and body; what went wrong inside of the manager is not told. */
export function describeFailure(error: unknown): { status: number; body: FailureBody } {
  const failure = toFailure(error)
  const { status, message, param, code } = failure
  const type = TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error')
  return { status, body: { error: { message, type, param, code } } }
}

function toFailure(error: unknown): ApiFailure {
  if (error instanceof ApiFailure) return error
  if (error instanceof RequestError)
    return new ApiFailure(error.status, error.message, {
      code: error.code.replace('GLEANER_', '').toLowerCase(),
    })
  const { statusCode = 500, message, name } = error as Error & { statusCode?: number }
  if (name === 'LedgerWriteError') return new ApiFailure(503, message)
  if (statusCode < 500) return new ApiFailure(statusCode, message)
  return new ApiFailure(500, 'the manager failed; its log says more')
}

/** What a task's error means to the caller of an API: errors of the input are its own. */
export function failureOfTask(error: TaskError | undefined): ApiFailure {
  const { name = 'Error', message = 'the call gave no value', refusal } = error ?? {}
  if (name === 'InputError') return new ApiFailure(400, message, { code: 'invalid_input' })
  if (name === 'SchemaError')
    return new ApiFailure(400, message, { param: 'response_format', code: 'invalid_schema' })
  if (refusal && OF_REQUESTS.includes(refusal.status)) return failureOfRefusal(refusal, message)
  return new ApiFailure(500, `${name}: ${message}`, { code: 'task_failed' })
}

/** Statuses by which a server says that the request is at fault; others say that the context is, which must not look like the client's. */
const OF_REQUESTS = [400, 404, 409, 413, 415, 422]

/** How servers that speak the API, or nearly, say what is wrong. */
const Told = z.object({
  message: z.string(),
  param: z.string().nullish().catch(null),
  code: z.string().nullish().catch(null),
})
const ToldBody = z.union([
  z.object({ error: Told }).transform(({ error }) => error),
  z.object({ error: z.string() }).transform(({ error }) => ({ message: error, param: null, code: null })),
  Told,
])

function failureOfRefusal({ status, text }: ServerRefusal, message: string): ApiFailure {
  const told = ToldBody.safeParse(parseJson(text))
  if (!told.success) return new ApiFailure(status, message, { code: 'invalid_input' })
  const { message: words, param, code } = told.data
  return new ApiFailure(status, words, { ...(param && { param }), code: code ?? 'invalid_input' })
}
