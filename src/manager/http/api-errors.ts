/** A refusal that reaches the caller as it is: an HTTP status, a code for programs, a line that says what to do. */
export class RequestError extends Error {
  override name = 'RequestError'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

export const notFound = (what: string) => new RequestError(404, 'not-found', what)
export const conflict = (what: string) => new RequestError(409, 'conflict', what)
export const invalid = (what: string) => new RequestError(400, 'invalid', what)
export const busy = (what: string) => new RequestError(429, 'busy', what)
export const unauthorised = () =>
  new RequestError(401, 'unauthorised', 'no valid token: it is missing, spent or revoked')
export const revoked = () =>
  new RequestError(410, 'revoked', 'this session has ended: the pilot was restarted, removed or left')
