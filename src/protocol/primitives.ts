import { z } from 'zod'
import { limits } from './limits.ts'

export { limits }

/** Version of the wire protocol. A worker and a manager with different versions refuse each other. */
export const PROTOCOL_VERSION = 2

/** A whole number in a path or a query. */
export const Digits = z
  .string()
  .regex(/^[0-9]{1,15}$/, 'expected a whole number')
  .transform(Number)

/** Text that the ledger keeps as it is: halves of surrogate pairs would all become one and the same mark. */
export const Unicode = z.string().refine((text) => text.isWellFormed(), 'is not well-formed Unicode')

/** A name a user chooses: for contexts, bundles, functions, sites. Safe as a file name and in a URL path. */
export const Name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/,
    'use letters, digits, ".", "_" and "-", starting with a letter or digit',
  )

/** A node's name, as batch systems take it: nothing that could end a line or an argument of theirs. */
export const HostName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/, 'expected a host name: letters, digits, ".", "_" and "-"')

/** A path on the manager's machine. */
export const AbsolutePath = z
  .string()
  .max(4096)
  .regex(/^\/[^\p{Cc}]*$/u, 'expected an absolute path')

/** A SHA-256 in lower-case hex. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a SHA-256 in hex')

/** Milliseconds since 1970, by the clock of the manager. */
export const Timestamp = z.int().nonnegative()

/** Time that something took, fractions included; sums of it must stay numbers. */
export const Milliseconds = z.number().nonnegative().max(1e12)

/** Energy; sums of it must stay numbers. */
export const Joules = z.number().nonnegative().max(1e15)

/** A number handed out by the ledger: task, lease, job, cursor. */
export const Serial = z.int().nonnegative()

/** Any JSON value. */
export type JsonValue = z.core.util.JSONType

/** What has come out of a JSON parser needs no second look: only its absence is wrong. */
export const Json = z.custom<JsonValue>((value) => value !== undefined, 'missing')

/** The body of every answer that is not 2xx. `message` says what to do next. */
export const ApiErrorBody = z.object({
  error: z.object({
    code: z.string().max(64),
    message: z.string().max(limits.errorText),
  }),
})
export type ApiErrorBody = z.infer<typeof ApiErrorBody>

/**
 * What a received text says; undefined if it is not JSON, which no schema takes.
 * @param parse `parseExactly` where values of users are in it
 */
export function parseJson(text: string, parse: (text: string) => unknown = JSON.parse): unknown {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

/** Turns a validation error into one line that names the offending key. */
export function explain(error: z.ZodError): string {
  const [issue] = error.issues
  if (!issue) return 'invalid'
  const path = issue.path.join('.')
  return path ? `${path}: ${issue.message}` : issue.message
}
