import { inspect } from 'node:util'
import { limits } from '../protocol/primitives.ts'
import type { ServerRefusal, TaskError } from '../protocol/task.ts'

/** A bundle that does not hold what its context says. The message names the file and what to do about it. */
export class ContextFilesError extends Error {
  override name = 'ContextFilesError'
}

/** An input that the called function cannot take. The message says what is wrong with it. */
export class InputError extends Error {
  override name = 'InputError'
}

/** A JSON schema that answers cannot be held to. The message says why. */
export class SchemaError extends Error {
  override name = 'SchemaError'
}

/** A call was cancelled while it ran, and has ended for that reason. */
export class CancelledError extends Error {
  override name = 'CancelledError'
}

/** A result that cannot be sent. */
export class ResultError extends Error {
  override name = 'ResultError'
}

/** A server turned a request down for what it asked. */
export class RefusedError extends Error {
  override name = 'ServerError'
  readonly refusal: ServerRefusal

  constructor(message: string, refusal: ServerRefusal) {
    super(message)
    this.refusal = refusal
  }
}

/** What was thrown in another language, with the thing itself as that language writes it; see `TaskError.original`. */
export class ForeignError extends Error {
  readonly original: string

  constructor(message: string, original: string) {
    super(message)
    this.original = original
  }
}

/** Of the texts of errors that come along with another, so much is kept, characters. */
const ALONG_TEXT = 4 << 10

/** Anything that was thrown, as the user will see it, with what led to it; cut to what the protocol carries. */
export function toTaskError(thrown: unknown): TaskError {
  let left: number = limits.errors
  const describe = (thrown: unknown, depth: number): TaskError => {
    left--
    const most = depth === 0 ? limits.errorText : ALONG_TEXT
    const cut = (text: string) => text.slice(0, most)
    if (!(thrown instanceof Error)) return { name: 'Error', message: cut(toText(thrown)) }
    const { cause, errors } = thrown as { cause?: unknown; errors?: unknown }
    const described: TaskError = {
      name: String(thrown.name).slice(0, 200),
      message: cut(String(thrown.message)),
      ...(typeof thrown.stack === 'string' && { stack: cut(thrown.stack) }),
      ...(thrown instanceof ForeignError && { original: thrown.original }),
      ...(thrown instanceof RefusedError && { refusal: thrown.refusal }),
    }
    if (depth === limits.errorDepth) return described
    if (cause !== undefined && left > 0) described.cause = describe(cause, depth + 1)
    if (Array.isArray(errors)) {
      described.errors = errors.flatMap((error) => (left > 0 ? [describe(error, depth + 1)] : []))
    }
    return described
  }
  return describe(thrown, 0)
}

function toText(thrown: unknown): string {
  return typeof thrown === 'string' ? thrown : inspect(thrown, { depth: 2 })
}
