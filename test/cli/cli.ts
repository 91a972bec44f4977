import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const BIN = fileURLToPath(new URL('../../bin/factory.js', import.meta.url))

export interface Ended {
  /** Exit code; -1 if a signal ended it. */
  code: number
  stdout: string
  stderr: string
}

/** A `factory` command that runs. */
export interface Running {
  child: ChildProcess
  ended: Promise<Ended>
}

/** No command of a test takes as long as this, milliseconds: one that hangs fails instead. */
const LIMIT_MS = 600_000

export interface CommandOptions {
  state: string
  env?: NodeJS.ProcessEnv
  cwd?: string
}

/** Starts a `factory` command as a process of its own. */
export function start(args: string[], { state, env, cwd }: CommandOptions): Running {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd,
    env: { ...process.env, ...env, GLEANER_STATE: state },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  const ended = once(child, 'close').then(([code]) => ({ code: (code as number | null) ?? -1, ...output }))
  return { child, ended }
}

/** Runs a `factory` command to its end. */
export const factory = (args: string[], options: CommandOptions): Promise<Ended> => start(args, options).ended
