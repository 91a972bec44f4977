import { z } from 'zod'
import { readLines } from '../common/read-lines.ts'
import { explain, limits, parseJson, Unicode } from '../protocol/primitives.ts'
import { describeFailure } from './error-bodies.ts'
import type { Endpoint } from './endpoint-functions.ts'

/** One request of a batch file. */
export const BatchLine = z.strictObject({
  custom_id: Unicode.min(1).max(limits.key),
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

interface LineFault {
  code: string
  problem: string
  param: string | null
}

/** A line as a request, or what is wrong with it. */
export interface ReadRequest {
  /** Of the line, counted from 1. */
  number: number
  request: BatchLine | LineFault
}

/** Longest line, bytes. */
const LINE_MAX = limits.value
/** Most requests in one batch. */
const LINES_MAX = 10_000_000
/** Errors that a batch lists; further ones are of no more help. */
const ERRORS_MAX = 100

/** The lines of a stream of bytes that are not empty, with their numbers. */
export async function* readRequests(source: AsyncIterable<Buffer>): AsyncGenerator<ReadRequest> {
  for await (const { number, bytes } of readLines(source, LINE_MAX)) {
    if (bytes.length > LINE_MAX) {
      yield { number, request: fault('line_too_long', `the line has more than ${LINE_MAX} bytes`) }
      continue
    }
    const text = bytes.toString('utf8')
    if (text.trim() !== '') yield { number, request: readRequest(text) }
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
  lines: AsyncIterable<ReadRequest>,
  endpoint: Endpoint,
  check: (body: BatchLine['body']) => void,
): Promise<CheckedLines> {
  const ids = new Set<string>()
  const errors: LineError[] = []
  let model: string | undefined
  for await (const { number, request } of lines) {
    const wrong = (code: string, message: string, param: string | null = null) => {
      if (errors.length < ERRORS_MAX) errors.push({ code, message, param, line: number })
    }
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

function readRequest(line: string): BatchLine | LineFault {
  const value = parseJson(line)
  if (value === undefined) return fault('invalid_json_line', 'the line is not JSON')
  const parsed = BatchLine.safeParse(value)
  if (parsed.success) return parsed.data
  return fault('invalid_request', explain(parsed.error), parsed.error.issues[0]?.path.join('.') || null)
}

function fault(code: string, problem: string, param: string | null = null): LineFault {
  return { code, problem, param }
}
