import { spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import type { Client, Shell, ShellEnd, ShellOptions } from '../../client/index.ts'
import { ApiError, ShellError } from '../../client/errors.ts'
import { exitCodes } from '../exit/exit-codes.ts'
import { createEscape } from './shell-escape.ts'
import { rawOutput } from '../views/terminal.ts'

/** The user pressed the way out of a terminal; what ran there is ended. */
const LEFT: ShellEnd = { code: exitCodes.notRun, signal: 0 }

/** Runs a shell at this process's own terminal until it ends. The keyboard is the pilot's meanwhile. */
export async function runInTerminal(client: Client, pilot: string, command?: string[]): Promise<ShellEnd> {
  const { stdin, stdout } = process
  const size = () => ({ columns: stdout.columns || 80, rows: stdout.rows || 24 })
  const type = /^[\w.+-]{1,64}$/.test(process.env['TERM'] ?? '') ? process.env['TERM']! : 'xterm'
  const output = ownOutput(() => shell)
  const shell = await open(client, pilot, {
    ...(command && { command }),
    terminal: { ...size(), type },
    onOutput: output.write,
    onDrain: () => stdin.resume(),
  })
  const left = Promise.withResolvers<ShellEnd>()
  const escape = createEscape()
  const onTyped = (typed: Buffer) => {
    const { send, leaves } = escape(typed)
    if (!shell.write(send)) stdin.pause()
    if (leaves) left.resolve(LEFT)
  }
  const resize = () => shell.resize(size().columns, size().rows)
  const hangUp = () => left.resolve(LEFT)
  stdin.setRawMode(true)
  // Node leaves the terminal to put a return before each newline. That is the pilot's terminal's to do, or not to do.
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
  stdin.on('data', onTyped).on('end', hangUp).resume()
  stdout.on('resize', resize)
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, hangUp)
  // It may have changed while the pilot was asked.
  resize()
  try {
    const end = await Promise.race([shell.ended, left.promise])
    if (end !== LEFT) await output.flush()
    return end
  } finally {
    shell.close()
    stdin.setRawMode(false).off('data', onTyped).pause()
    stdout.off('resize', resize)
  }
}

/** Runs a command with this process's own standard streams until it ends. Ctrl-C is the command's. */
export async function runCommand(client: Client, pilot: string, command: string[]): Promise<ShellEnd> {
  const { stdin } = process
  const input = !stdin.isTTY
  const output = ownOutput(() => shell)
  const shell = await open(client, pilot, {
    command,
    input,
    onOutput: output.write,
    onDrain: () => input && stdin.resume(),
  })
  const pass = (name: NodeJS.Signals) => shell.signal(constants.signals[name])
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const
  for (const name of names) process.on(name, pass)
  if (input) {
    stdin.on('data', (bytes: Buffer) => shell.write(bytes) || stdin.pause())
    stdin.once('end', () => shell.endInput())
    stdin.once('error', () => shell.endInput())
  }
  try {
    const end = await shell.ended
    await output.flush()
    return end
  } finally {
    for (const name of names) process.off(name, pass)
    stdin.destroy()
  }
}

/** A refusal, too, must not be taken for the exit code of a command. */
async function open(client: Client, pilot: string, options: ShellOptions): Promise<Shell> {
  try {
    return await client.openShell(pilot, options)
  } catch (error) {
    throw error instanceof ApiError ? new ShellError(error.message, { cause: error }) : error
  }
}

/** How a shell that ended ends this process: as the other shells of a system say it. */
export const exitCodeOf = ({ code, signal }: ShellEnd): number => (signal > 0 ? 128 + signal : code)

/** This process's own standard output and error, for the bytes of a shell. */
function ownOutput(shell: () => Shell): { write: ShellOptions['onOutput']; flush: () => Promise<unknown> } {
  const streams = { output: rawOutput(process.stdout), error: rawOutput(process.stderr) }
  for (const stream of Object.values(streams)) {
    stream.on('drain', () => shell().resume())
    // Its reader has seen enough.
    stream.on('error', () => shell().close())
  }
  return {
    write: (bytes, stream) => streams[stream].write(bytes),
    flush: () => Promise.all([streams.output.flush(), streams.error.flush()]),
  }
}
