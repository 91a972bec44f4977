export type CommandResult = { code: number; stdout: string; stderr: string }

/** How the batch system's commands are reached: on this machine, or on a submit node elsewhere. */
export interface Transport {
  /**
   * Runs a command to its end. Arguments arrive as they are; no shell sees them.
   * @throws {TransportError} if it cannot be started, is aborted, or says more than {@link OUTPUT_MAX}. An exit code
   * other than 0 is an answer, not an error of the transport.
   */
  run(command: readonly string[], options: { cwd?: string; signal: AbortSignal }): Promise<CommandResult>
}

/** Longest output of one command, bytes of either stream: about 200,000 lines of a queue. */
export const OUTPUT_MAX = 32 << 20

export class TransportError extends Error {
  override readonly name = 'TransportError'
}
