import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import type { Program, ProgramOptions } from './shell-program.ts'
import { endProcessSession } from './end-process-session.ts'

/** What a program has started may hold its output open after its end; once that is silent for so long, it is over. Milliseconds. */
const QUIET_MS = 1_000

/** Starts a program with pipes, its standard output and error apart. @throws if it cannot be started */
export function startWithPipes(
  { file, args, folder, env, onOutput, onExit }: ProgramOptions,
  hasInput: boolean,
): Promise<Program> {
  // A session of its own, so that what it starts can be ended with it.
  const child = spawn(file, args, {
    cwd: folder,
    env,
    stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const outputs = [child.stdout!, child.stderr!]
  let ended: { code: number; signal: number } | undefined
  let quiet: NodeJS.Timeout | undefined
  const report = () => {
    if (!ended) return
    clearTimeout(quiet)
    const { code, signal } = ended
    ended = undefined
    for (const stream of outputs) stream.removeAllListeners('data')
    onExit(code, signal)
  }
  child.stdout!.on('data', (bytes: Buffer) => onOutput(bytes, 'output'))
  child.stderr!.on('data', (bytes: Buffer) => onOutput(bytes, 'error'))
  for (const stream of outputs) stream.on('data', () => quiet?.refresh())
  // It need not read what it is given.
  child.stdin?.on('error', () => {})
  child.once('exit', (code, signal) => {
    ended = { code: code ?? 0, signal: signal === null ? 0 : constants.signals[signal] }
    // Held back, it is not silent.
    quiet = setTimeout(
      () => (outputs.some((stream) => stream.isPaused()) ? quiet?.refresh() : report()),
      QUIET_MS,
    )
  })
  child.once('close', report)
  const program: Program = {
    write(bytes, taken) {
      if (!child.stdin || child.stdin.destroyed) return taken()
      child.stdin.write(bytes, () => taken())
    },
    endInput: () => void child.stdin?.end(),
    resize() {},
    // Also to what it has started: as a terminal does.
    signal: (number) => void tellGroup(child.pid!, number),
    pause: () => outputs.forEach((stream) => stream.pause()),
    resume: () => outputs.forEach((stream) => stream.resume()),
    end: () => endProcessSession(child.pid!),
  }
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve(program))
    child.once('error', reject)
  })
}

function tellGroup(pid: number, signal: number): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // Gone already, or no signal of this system.
  }
}
