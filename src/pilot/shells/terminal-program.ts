import type { Program, ProgramOptions } from './shell-program.ts'
import { endProcessSession } from './end-process-session.ts'

/** How often a terminal that is held back is looked at for whether its program has ended, milliseconds. */
const LOOK_MS = 50

/**
 * Starts a program in a terminal of its own.
 * @throws when this node cannot give one: node-pty has a binary, which a node's system may be too old for
 */
export async function startInTerminal(
  { file, args, folder, env, onOutput, onExit }: ProgramOptions,
  { columns, rows, type }: { columns: number; rows: number; type: string },
): Promise<Program> {
  const { spawn } = await import('node-pty')
  const terminal = spawn(file, args, { name: type, cols: columns, rows, cwd: folder, env, encoding: null })
  let isOver = false
  let look: NodeJS.Timeout | undefined
  const resume = () => {
    clearInterval(look)
    look = undefined
    terminal.resume()
  }
  terminal.onData((bytes) => onOutput(bytes, 'output'))
  terminal.onExit(({ exitCode, signal = 0 }) => {
    isOver = true
    clearInterval(look)
    onExit(signal > 0 ? 0 : exitCode, signal)
  })
  return {
    write(bytes, taken) {
      if (isOver) return taken()
      terminal._socket.write(bytes, () => taken())
    },
    // As a person would say it.
    endInput: () => void (isOver || terminal._socket.write('\x04')),
    resize: (columns, rows) => void (isOver || terminal.resize(columns, rows)),
    signal() {},
    pause() {
      terminal.pause()
      // Soon after its end node-pty closes the terminal: what is in it, little by then, must be taken before.
      look ??= setInterval(() => isAlive(terminal.pid) || resume(), LOOK_MS)
    },
    resume,
    end: () => endProcessSession(terminal.pid),
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
