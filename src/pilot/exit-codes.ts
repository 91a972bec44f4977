import type { ErrorCode } from '../protocol/error-codes.ts'

/**
 * Exit codes of the worker, named as pilot.sh names its own. 0 is any orderly leave: drained, idle, evicted, or out of
 * walltime.
 */
export const exitCodes = {
  /** A defect of the worker itself. */
  GLEANER_INTERNAL: 1,
  /** The environment that pilot.sh left is incomplete or wrong. */
  GLEANER_PILOT_SETTINGS: 64,
  /** There is no room on this node, or a folder cannot be written. */
  GLEANER_PILOT_NO_SPACE: 68,
  /** The manager could not be reached for too long. */
  GLEANER_PILOT_UNREACHABLE: 69,
  /** The manager refused the pilot's token, or has ended the worker's session. */
  GLEANER_PILOT_REFUSED: 70,
  /** Manager and worker do not understand each other: they are of different versions. */
  GLEANER_PROTOCOL: 76,
} as const satisfies Partial<Record<ErrorCode, number>>

/** Why a worker ends before its time. The message says what to do about it. */
export class PilotError extends Error {
  override readonly name = 'PilotError'
  readonly code: keyof typeof exitCodes

  constructor(code: keyof typeof exitCodes, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** What an exit code is called in a worker's last words, as pilot.sh calls its own: `GLEANER_PILOT_NO_SPACE` is `no-space`. */
export const exitName = (code: keyof typeof exitCodes): string =>
  code
    .replace(/^GLEANER_(PILOT_)?/, '')
    .toLowerCase()
    .replaceAll('_', '-')
