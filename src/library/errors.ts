import { inspect } from 'node:util'
import { limits } from '../protocol/common.ts'
import type { TaskError } from '../protocol/task.ts'

/** A bundle that does not hold what its context says. The message names the file and what to do about it. */
export class BundleError extends Error {
  override name = 'BundleError'
}

/** An input that the called function cannot take. The message says what is wrong with it. */
export class InputError extends Error {
  override name = 'InputError'
}

/** A result that cannot be sent. */
export class ResultError extends Error {
  override name = 'ResultError'
}

/** Anything that was thrown, as the user will see it; cut to what the protocol carries. */
export function toTaskError(thrown: unknown): TaskError {
  if (!(thrown instanceof Error)) return { name: 'Error', message: cut(toText(thrown)) }
  return {
    name: String(thrown.name).slice(0, 200),
    message: cut(String(thrown.message)),
    ...(typeof thrown.stack === 'string' && { stack: cut(thrown.stack) }),
  }
}

function toText(thrown: unknown): string {
  return typeof thrown === 'string' ? thrown : inspect(thrown, { depth: 2 })
}

function cut(text: string): string {
  return text.slice(0, limits.errorText)
}
