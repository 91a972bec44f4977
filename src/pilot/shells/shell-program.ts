/** A program that runs for a shell: in a terminal, or with plain pipes. */
export interface Program {
  /** Takes bytes of input; `taken` is called when they have left. */
  write(bytes: Buffer, taken: () => void): void
  /** There is no more input. */
  endInput(): void
  /** Nothing for a program without a terminal. */
  resize(columns: number, rows: number): void
  /** Nothing for a program with a terminal: there, signals are bytes of input. */
  signal(number: number): void
  /** Holds its output back, and lets it come again. */
  pause(): void
  resume(): void
  /** Ends it, and all that was started in its session. */
  end(): Promise<void>
}

export interface ProgramOptions {
  file: string
  args: string[]
  folder: string
  env: NodeJS.ProcessEnv
  onOutput: (bytes: Buffer, stream: 'output' | 'error') => void
  /** Called once, after the last of its output. */
  onExit: (code: number, signal: number) => void
}
