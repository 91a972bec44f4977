/* The parts of node-pty that are used here: its own types do not go by this name, and know only text. */
declare module 'node-pty' {
  import type { Socket } from 'node:net'

  export interface TerminalOptions {
    /** What `TERM` says. */
    name: string
    cols: number
    rows: number
    cwd: string
    env: NodeJS.ProcessEnv
    /** Null for bytes. */
    encoding: null
  }

  export interface Terminal {
    readonly pid: number
    /** The terminal's end on this side: the only place that says when input has left. */
    readonly _socket: Socket
    onData(take: (bytes: Buffer) => void): void
    /** Called after the last of its output; soon after its end what is not read is lost. */
    onExit(take: (end: { exitCode: number; signal?: number }) => void): void
    resize(columns: number, rows: number): void
    pause(): void
    resume(): void
  }

  /** Starts a program as the leader of a session in a terminal of its own. */
  export function spawn(file: string, args: string[], options: TerminalOptions): Terminal
}
