export type CommandResult = { code: number; stdout: string; stderr: string }

/**
 * How a batch system's commands and files are reached: on this machine, or on a submit node elsewhere. What any implementation
 * must do is written down as tests in test/factory/transports/transport-suite.ts.
 */
export interface Transport {
  /**
   * Runs a command to its end. Arguments arrive as they are; no shell sees them.
   * @throws {TransportError} if it cannot be started, is aborted, or says more than {@link OUTPUT_MAX}. An exit code
   * other than 0 is an answer, not an error of the transport.
   */
  run(command: readonly string[], options: { cwd?: string; signal: AbortSignal }): Promise<CommandResult>
  readonly files: JobFiles
}

/** The files of jobs, where the batch system sees them: in the state folder itself, or as copies on a submit node. */
export interface JobFiles {
  /** The folder, as the batch system sees it, for what is kept in a folder of the state folder. */
  folderFor(folder: string, signal: AbortSignal): Promise<string>
  /**
   * Brings a folder with all that is in it to where the batch system sees it: under its name it is there as a whole or not at
   * all, and once it is there, nothing changes it.
   * @throws {TransportError} also when it cannot be known whether it is there; it can be copied again then
   */
  copy(from: string, to: string, signal: AbortSignal): Promise<void>
  /**
   * Brings a large file to where nodes may see it, once for each hash; goes on where an earlier attempt broke off.
   * @returns its path there
   */
  deliver(file: { path: string; sha256: string }, signal: AbortSignal): Promise<string>
  /** The last bytes of a file, as text; empty if it is not there. */
  tail(file: string, bytes: number, signal: AbortSignal): Promise<string>
  /** Removes a folder of jobs with all that is in it, if it is there. */
  remove(folder: string, signal: AbortSignal): Promise<void>
}

/** Longest output of one command, bytes of either stream: about 200,000 lines of a queue. */
export const OUTPUT_MAX = 32 << 20

export class TransportError extends Error {
  override readonly name: string = 'TransportError'
}

/** What was to be run has not been started, and will not be. */
export class NotStartedError extends TransportError {
  override readonly name: string = 'NotStartedError'
}
