import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { dirname, sep } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** A process that held a context has ended, though it was not asked to. */
export class ContextProcessGone extends Error {
  override name = 'ChildGone'
  readonly code: number | null
  readonly signal: NodeJS.Signals | null

  constructor(message: string, { exitCode, signalCode }: ChildProcess) {
    super(message)
    this.code = exitCode
    this.signal = signalCode
    // Where that was noticed is no help to anybody.
    delete this.stack
  }
}

/** A process that holds a context for this one. It is in this one's process group, with which it is killed. */
export interface ContextProcess {
  readonly process: ChildProcess
  /** Resolves when it has ended, or could not be started. */
  readonly gone: Promise<ContextProcessGone>
  /** Ends it: by `ask`, or else by force. */
  stop(ask: () => void): Promise<void>
}

/** How long a child may take to end when it is asked to, milliseconds; its worker waits little longer. */
const STOP_MS = 500

/** Where the other programs of a program's environment are: beside it, if it is named by its place; else nothing is known. */
export function foldersBeside(program: string): string[] {
  return program.includes(sep) ? [dirname(program)] : []
}

/** Starts a program; `advice` is what to do if there is no such program. */
export function startContextProcess(
  program: string,
  args: string[],
  options: SpawnOptions,
  advice: string,
): ContextProcess {
  const child = spawn(program, args, options)
  const gone = whenGone(child, program, advice)
  return {
    process: child,
    gone,
    async stop(ask) {
      ask()
      await Promise.race([gone, delay(STOP_MS, undefined, { ref: false })])
      child.kill('SIGKILL')
      await gone
    },
  }
}

async function whenGone(child: ChildProcess, program: string, advice: string): Promise<ContextProcessGone> {
  try {
    await once(child, 'exit')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? `there is no program ${program}: ${advice}` : message
    return new ContextProcessGone(`${program} cannot be started: ${why}`, child)
  }
  const how = child.signalCode ? `was killed by ${child.signalCode}` : `exited with code ${child.exitCode}`
  return new ContextProcessGone(`${program} ${how}`, child)
}
