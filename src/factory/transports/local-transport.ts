import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { commandEnvironment } from './command-environment.ts'
import { localFiles } from './local-files.ts'
import { OUTPUT_MAX, type Transport, TransportError } from './transport.ts'

export type LocalOptions = {
  /** Goes in front of each command, e.g. to enter a container. */
  prefix?: readonly string[]
  /** Names of variables, beyond the usual ones, that commands inherit; see {@link commandEnvironment}. */
  kept?: readonly string[]
  /** Variables that commands get beside those. */
  set?: Readonly<Record<string, string>>
}

/** Runs commands on this machine, in an environment that holds what they need and no more. */
export function localTransport({ prefix = [], kept, set }: LocalOptions = {}): Transport {
  return {
    files: localFiles,

    async run(command, { cwd, signal }) {
      const [file, ...args] = [...prefix, ...command] as [string, ...string[]]
      // A process group of its own: a command that is given up goes with all it started, many a site wraps its sbatch; and
      // a Ctrl-C that stops the factory does not cut a submission in two.
      const child = spawn(file, args, {
        cwd,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: commandEnvironment(process.env, kept, set),
        detached: true,
      })
      const kill = () => killGroup(child)
      signal.addEventListener('abort', kill, { once: true })
      try {
        const code = new Promise<number>((resolve, reject) => {
          child.once('error', reject)
          child.once('close', (exit) => resolve(exit ?? -1))
        })
        const [stdout, stderr, exit] = await Promise.all([text(child.stdout), text(child.stderr), code])
        if (signal.aborted) throw new TransportError(`${file} took too long and was ended`)
        return { code: exit, stdout, stderr }
      } catch (error) {
        kill()
        if (error instanceof TransportError) throw error
        throw new TransportError(`${file} cannot be run: ${(error as Error).message}`, { cause: error })
      } finally {
        signal.removeEventListener('abort', kill)
      }
    },
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > OUTPUT_MAX) throw new TransportError('the command says more than fits')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
