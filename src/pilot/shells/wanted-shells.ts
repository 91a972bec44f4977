import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { joinConnections } from '../../common/join-connections.ts'
import { openShellConnection } from '../../common/shells/shell-connection.ts'
import { failedFrame, SHELL_FD } from '../../protocol/channels/shell-frames.ts'
import { publicEnvironment } from '../policy/public-environment.ts'

/** Runs the shells that users want in this pilot. */
export interface WantedShells extends AsyncDisposable {
  /** Opens those of these shells that are not open yet. */
  want(shells: readonly string[]): void
}

export interface WantedShellsOptions {
  /** Whether this pilot's own submission allows shells, whatever the manager says. */
  allowed: boolean
  /** Opens the channel of a shell. */
  dial: (shell: string) => Promise<Duplex>
  /** Where shells begin. */
  folder: string
  log: Logger
}

const REFUSED =
  'this pilot was submitted by a factory whose site did not allow shells: set shell: true, "factory reload", and use a ' +
  'pilot submitted since'
/** Time that the process of a shell has to end what it runs, when the worker leaves, milliseconds. */
const LEAVING_MS = 1_500
/** Time for either side of a shell to hear the last of the other, milliseconds. */
const LAST_MS = 5_000

export function createWantedShells({ allowed, dial, folder, log }: WantedShellsOptions): WantedShells {
  const open = new Set<string>()
  const processes = new Set<ChildProcess>()

  const run = async (shell: string): Promise<void> => {
    const socket = await dial(shell)
    if (!allowed) {
      log.warn({ shell }, 'a shell was refused: the submission of this pilot does not allow it')
      return refuse(socket)
    }
    log.info({ shell }, 'a shell was opened')
    const child = spawn(process.execPath, [shellProgram()], {
      cwd: folder,
      env: publicEnvironment(process.env).shown,
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    })
    processes.add(child)
    const channel = child.stdio[SHELL_FD] as Duplex
    const gone = once(child, 'exit')
    await joinConnections(socket, channel, { lingerMs: LAST_MS })
    await gone
    processes.delete(child)
    log.info({ shell }, 'a shell was closed')
  }

  return {
    want(shells) {
      for (const shell of shells) {
        if (open.has(shell)) continue
        open.add(shell)
        run(shell)
          .catch((error: unknown) => log.warn({ shell, err: error }, 'a shell could not be opened'))
          .finally(() => open.delete(shell))
      }
    },
    async [Symbol.asyncDispose]() {
      const left = [...processes]
      for (const child of left) (child.stdio[SHELL_FD] as Duplex).destroy()
      const signal = AbortSignal.timeout(LEAVING_MS)
      const isRunning = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null
      await Promise.allSettled(left.filter(isRunning).map((child) => once(child, 'exit', { signal })))
    },
  }
}

/** Says no to all that comes. */
function refuse(socket: Duplex): void {
  const heedless = { onFrame() {}, onDrain() {}, onClosed() {} }
  openShellConnection(socket, { from: 'user', ...heedless }).end(failedFrame(REFUSED))
}

/** The program beside this one: bundled into one file, as source, or compiled. */
function shellProgram(): string {
  const paths = ['./shell.js', './main.ts', './main.js'].map((name) =>
    fileURLToPath(new URL(name, import.meta.url)),
  )
  const found = paths.find((path) => existsSync(path))
  if (found === undefined)
    throw new Error(`the program of shells is missing: none of ${paths.join(', ')} exists`)
  return found
}
