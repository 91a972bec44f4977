/** Something the user can act on: `message` is one line that says what to do next. */
export class GleanerError extends Error {
  override name = 'GleanerError'
}

/** What was given is wrong: a malformed file, a bad option, a name nobody knows. Nothing was submitted because of it. */
export class InputError extends GleanerError {
  override name = 'InputError'
}

/** No factory runs on this state folder. */
export class NotRunningError extends GleanerError {
  override name = 'NotRunningError'
}

/** The manager could not be reached, or was too busy to answer, for as long as the client was told to keep trying. */
export class UnreachableError extends GleanerError {
  override name = 'UnreachableError'
}

/** The manager refused the request. */
export class ApiError extends GleanerError {
  override name = 'ApiError'
  /** HTTP status. */
  readonly status: number
  /** The manager's word for what is wrong, e.g. `unknown_context`. */
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** Something that is not a manager of this version answered. */
export class ProtocolError extends GleanerError {
  override name = 'ProtocolError'
}

/** Nothing more of the job can run as things are, e.g. because its context cannot be set up. Its tasks stay queued. */
export class JobStuckError extends GleanerError {
  override name = 'JobStuckError'
}
