/** Something the user can act on: `message` is one line that says what to do next. */
export class GleanerError extends Error {
  override name = 'GleanerError'
  /** One of {@link errorCodes}; another only if a manager of another version sent it. */
  readonly code: string = 'GLEANER_INTERNAL'
}

/** What was given is wrong: a malformed file, a bad option, an unknown name. Nothing was submitted because of it. */
export class InputError extends GleanerError {
  override name = 'InputError'
  override readonly code = 'GLEANER_BAD_INPUT'
}

/** No factory runs on this state folder. */
export class NotRunningError extends GleanerError {
  override name = 'NotRunningError'
  override readonly code = 'GLEANER_NOT_RUNNING'
}

/** The manager could not be reached, or was too busy to answer, for as long as the client was told to keep trying. */
export class UnreachableError extends GleanerError {
  override name = 'UnreachableError'
  override readonly code = 'GLEANER_UNREACHABLE'
}

/** The manager refused the request. */
export class ApiError extends GleanerError {
  override name = 'ApiError'
  /** HTTP status. */
  readonly status: number
  override readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** Something that is not a manager of this version answered. */
export class ProtocolError extends GleanerError {
  override name = 'ProtocolError'
  override readonly code = 'GLEANER_PROTOCOL'
}

/** Nothing more of the job can run as things are, e.g. because its context cannot be set up. Its tasks stay queued. */
export class JobStuckError extends GleanerError {
  override name = 'JobStuckError'
  override readonly code = 'GLEANER_JOB_STUCK'
}

/** The shell could not be opened, or was cut off: its command may have run in part. */
export class ShellError extends GleanerError {
  override name = 'ShellError'
  override readonly code = 'GLEANER_SHELL'
}
