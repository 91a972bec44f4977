import { spawn } from 'node-pty'
import { until } from '../../support/until.ts'

/** A user's terminal in which `factory attach` runs. */
export interface AttachedTerminal extends Disposable {
  /** What it shows so far. */
  readonly screen: string
  type(text: string): void
  resize(columns: number, rows: number): void
  /** Waits until this is shown, after what was waited for before. */
  shows(text: string | RegExp): Promise<void>
  readonly ended: Promise<number>
}

/** What follows `factory` in a command that attaches. */
export const attachArguments = (pilot: string, command: readonly string[]) => [
  'attach',
  pilot,
  ...(command.length > 0 ? ['--', ...command] : []),
]

/** @param command the whole of it, with what goes before `factory` */
export function attachedTerminal(
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): AttachedTerminal {
  const [file, ...args] = command as [string, ...string[]]
  let screen = ''
  let looked = 0
  const { promise: ended, resolve } = Promise.withResolvers<number>()
  const terminal = spawn(file, args, {
    name: 'xterm',
    cols: 81,
    rows: 25,
    cwd: process.cwd(),
    env: { ...env, SHELL: '/bin/sh', PS1: 'ready$ ' },
    encoding: null,
  })
  terminal.onData((bytes) => (screen += bytes.toString()))
  terminal.onExit(({ exitCode }) => resolve(exitCode))
  return {
    get screen() {
      return screen
    },
    type: (text) => void terminal._socket.write(text),
    resize: (columns, rows) => terminal.resize(columns, rows),
    async shows(text) {
      const find = () => {
        const rest = screen.slice(looked)
        const at = typeof text === 'string' ? rest.indexOf(text) : rest.search(text)
        if (at >= 0) looked += at + 1
        return at >= 0
      }
      try {
        await until(find)
      } catch (error) {
        throw new Error(`${String(text)} is not on the screen: ${JSON.stringify(screen)}`, { cause: error })
      }
    },
    ended,
    [Symbol.dispose]() {
      try {
        process.kill(terminal.pid, 'SIGKILL')
      } catch {
        // It has ended.
      }
    },
  }
}
