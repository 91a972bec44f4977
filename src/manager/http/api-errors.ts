import type { ErrorCode } from '../../protocol/error-codes.ts'

/** A refusal that reaches the caller as it is: an HTTP status, a code for programs, a line that says what to do. */
export class RequestError extends Error {
  override name = 'RequestError'
  readonly status: number
  readonly code: ErrorCode

  constructor(status: number, code: ErrorCode, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export const notFound = (what: string) => new RequestError(404, 'GLEANER_NOT_FOUND', what)
export const conflict = (what: string) => new RequestError(409, 'GLEANER_CONFLICT', what)
export const invalid = (what: string) => new RequestError(400, 'GLEANER_INVALID', what)
export const busy = (what: string) => new RequestError(429, 'GLEANER_BUSY', what)
export const unauthorised = () =>
  new RequestError(401, 'GLEANER_UNAUTHORISED', 'no valid token: it is missing, spent or revoked')
export const revoked = () =>
  new RequestError(
    410,
    'GLEANER_SESSION_ENDED',
    'this session has ended: the pilot was restarted, removed or left',
  )
