import { dirname, resolve } from 'node:path'
import { CommanderError } from 'commander'
import { BundleError } from '../../bundle/format/errors.ts'
import { InputError, ShellError } from '../../client/errors.ts'
import { ConfigError } from '../../factory/config/config-error.ts'
import { errorCodeOf } from '../../protocol/error-codes.ts'
import { exitCodes } from './exit-codes.ts'

/** What a command that failed prints, and how its process exits. */
export interface Failure {
  /** One line; empty if everything was said already. */
  message: string
  exitCode: number
}

/** The user pressed Ctrl-C, or the process was told to end. */
export class Interrupted extends Error {
  override name = 'Interrupted'
}

/** Another process failed, and has said how. */
export class ReportedFailure extends Error {
  override name = 'ReportedFailure'
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message)
    this.failure = failure
  }
}

/** What the system's error codes mean to a person at a terminal. */
const SYSTEM_ERRORS: Record<string, string> = {
  EACCES: 'permission denied',
  EADDRINUSE: 'the address is in use: stop what listens there, or choose another port',
  EADDRNOTAVAIL: 'this machine does not have that address',
  EDQUOT: 'the disk quota is used up: free some space and run the command again, nothing is lost',
  EISDIR: 'is a folder, not a file',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENOENT: 'no such file or folder',
  ENOSPC: 'the disk is full: free some space and run the command again, nothing is lost',
  ENOTDIR: 'is not a folder',
  EPERM: 'permission denied',
  EROFS: 'the filesystem is read-only',
}
const SQLITE_FULL = 13

/** What errors of the system, of SQLite and of the manager carry, if they are what they seem. */
interface Traits {
  code?: string
  path?: string
  address?: string
  port?: number
  /** HTTP status of a refusal. */
  status?: number
  /** SQLite's number for an error. */
  errcode?: number
}

/** What the system says of a file that is not there, or is not what it should be: wrong input, if the user has named it. */
const WRONG_FILE = new Set(['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'ENOTDIR', 'ELOOP'])

/**
 * Turns whatever a command threw into one line for the user, with the code under which docs/errors.md says more.
 * @param given the words of the command
 */
export function toFailure(error: unknown, given: readonly string[] = process.argv.slice(2)): Failure {
  if (error instanceof CommanderError) return { message: '', exitCode: error.exitCode && exitCodes.badInput }
  if (error instanceof ReportedFailure) return error.failure
  if (!(error instanceof Error)) return { message: oneLine(String(error)), exitCode: exitCodes.failed }
  if (isGivenFile(error as Error & Traits, given))
    return { message: `${oneLine(explain(error))} [GLEANER_BAD_INPUT]`, exitCode: exitCodes.badInput }
  const code = errorCodeOf(error)
  return { message: oneLine(explain(error)) + (code ? ` [${code}]` : ''), exitCode: exitCode(error) }
}

/** Whether it is about a file that a word of the command names, or one that was to be made there. */
function isGivenFile({ code = '', path }: Traits, given: readonly string[]): boolean {
  if (path === undefined || !WRONG_FILE.has(code)) return false
  return given.some(
    (word) => word !== '' && [path, dirname(path)].some((at) => resolve(word) === resolve(at)),
  )
}

function exitCode(error: Error & Traits): number {
  if (error instanceof Interrupted) return exitCodes.interrupted
  if (error instanceof ShellError) return exitCodes.notRun
  if (error instanceof InputError || error instanceof ConfigError) return exitCodes.badInput
  if (error instanceof BundleError && error.code === 'GLEANER_BUNDLE_INPUT') return exitCodes.badInput
  const { status = 0 } = error
  return status >= 400 && status < 500 ? exitCodes.badInput : exitCodes.failed
}

function explain(error: Error & Traits): string {
  if (error.errcode === SQLITE_FULL) return SYSTEM_ERRORS.ENOSPC as string
  const { code, path, address, port, message } = error
  const meaning = SYSTEM_ERRORS[code ?? '']
  if (meaning === undefined) return message
  const place = path ?? (port !== undefined && `${address}:${port}`)
  return place ? `${place}: ${meaning}` : meaning
}

/** Without line breaks and whatever else a terminal would act on. */
export const oneLine = (text: string) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim()
