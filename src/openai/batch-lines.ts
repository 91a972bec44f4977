import { z } from 'zod'
import { explain, limits } from '../protocol/common.ts'
import { describeFailure } from './failures.ts'
import type { Endpoint } from './models.ts'

/** One request of a batch file. */
const BatchLine = z.strictObject({
  custom_id: z.string().min(1).max(limits.key),
  method: z.literal('POST'),
  url: z.string(),
  body: z.looseObject({ model: z.string().min(1) }),
})
export type BatchLine = z.output<typeof BatchLine>

/** What is wrong with a line, as a batch that failed lists it. */
export interface LineError {
  code: string
  message: string
  param: string | null
  line: number
}

/** Longest line, bytes. */
export const LINE_MAX = limits.value
/** Most requests in one batch. */
export const LINES_MAX = 10_000_000
/** Errors that a batch lists; further ones are of no more help. */
const ERRORS_MAX = 100

/** The lines of a stream of bytes; one that is longer than {@link LINE_MAX} comes as undefined. */
export async function* readLines(source: AsyncIterable<Uint8Array>): AsyncGenerator<string | undefined> {
  let parts: Uint8Array[] = []
  let length = 0
  const take = () => {
    const line = length > LINE_MAX ? undefined : Buffer.concat(parts).toString('utf8')
    parts = []
    length = 0
    return line
  }
  for await (const chunk of source) {
    let start = 0
    for (let end; (end = chunk.indexOf(10, start)) !== -1; start = end + 1) {
      add(chunk.subarray(start, end))
      yield take()
    }
    add(chunk.subarray(start))
  }
  if (length > 0) yield take()

  function add(part: Uint8Array) {
    length += part.byteLength
    if (length <= LINE_MAX) parts.push(part)
    else parts = []
  }
}

/** What {@link checkLines} found. */
export interface CheckedLines {
  requests: number
  /** The one model that all requests name. */
  model: string | undefined
  errors: LineError[]
}

/**
 * Looks through all lines of a batch file before anything of it is run.
 *
 * @param check throws what is wrong with a request for the model that it names
 */
export async function checkLines(
  lines: AsyncIterable<string | undefined>,
  endpoint: Endpoint,
  check: (body: BatchLine['body']) => void,
): Promise<CheckedLines> {
  const ids = new Set<string>()
  const errors: LineError[] = []
  let model: string | undefined
  let number = 0
  for await (const line of lines) {
    number++
    if (line?.trim() === '') continue
    const wrong = (code: string, message: string, param: string | null = null) => {
      if (errors.length < ERRORS_MAX) errors.push({ code, message, param, line: number })
    }
    const request = readLine(line)
    if ('problem' in request) wrong(request.code, request.problem, request.param)
    else {
      const { custom_id, url, body } = request
      if (url !== endpoint)
        wrong('mismatched_url', `the url is ${url}, and the batch is for ${endpoint}`, 'url')
      if (ids.has(custom_id))
        wrong('duplicate_custom_id', `custom_id "${custom_id}" is there twice`, 'custom_id')
      model ??= body.model
      if (body.model !== model)
        wrong(
          'mismatched_model',
          `the model is ${body.model}, and ${model} before: a batch has one`,
          'body.model',
        )
      ids.add(custom_id)
      try {
        check(body)
      } catch (error) {
        const { code, message, param } = describeFailure(error).body.error
        wrong(code ?? 'invalid_request', message, param === null ? 'body' : `body.${param}`)
      }
    }
    if (ids.size > LINES_MAX) {
      wrong('too_many_requests', `a batch has at most ${LINES_MAX} requests: make several`)
      break
    }
  }
  if (ids.size === 0 && errors.length === 0)
    errors.push({ code: 'empty_file', message: 'the file has no requests', param: null, line: 1 })
  return { requests: ids.size, model, errors }
}

/** One line as a request, or what is wrong with it. */
export function readLine(
  line: string | undefined,
): BatchLine | { problem: string; code: string; param: string | null } {
  if (line === undefined)
    return { code: 'line_too_long', problem: `the line has more than ${LINE_MAX} bytes`, param: null }
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return { code: 'invalid_json_line', problem: 'the line is not JSON', param: null }
  }
  const parsed = BatchLine.safeParse(value)
  if (parsed.success) return parsed.data
  const param = parsed.error.issues[0]?.path.join('.') ?? null
  return { code: 'invalid_request', problem: explain(parsed.error), param: param === '' ? null : param }
}
