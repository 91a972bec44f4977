import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { GleanerError, InputError } from '../client/index.ts'
import type { Failure } from './failure.ts'

/** What a factory in the background tells the command that started it, once. */
export type StartReport = { ready: string } | { failed: Failure }

/** Tells the parent, if this process was started in the background by {@link startDetached}. */
export function reportStart(report: StartReport): void {
  if (!process.connected) return
  process.send?.(report)
  process.disconnect()
}

/**
 * Runs the same command in a session of its own and resolves with what it announces when it is ready. Its output goes to
 * the log.
 *
 * @throws what made it fail
 */
export async function startDetached(args: string[], cwd: string, logFile: string): Promise<string> {
  await using log = await open(logFile, 'a', 0o600)
  const child = spawn(process.execPath, [process.argv[1] ?? '', ...args], {
    cwd,
    detached: true,
    stdio: ['ignore', log.fd, log.fd, 'ipc'],
  })
  const [report] = (await Promise.race([once(child, 'message'), once(child, 'exit').then(() => [])])) as [
    StartReport?,
  ]
  child.unref()
  if (!report) throw new GleanerError(`the factory ended while it was starting: see ${logFile}`)
  if ('ready' in report) return report.ready
  const { message, exitCode } = report.failed
  throw exitCode === 2 ? new InputError(message) : new GleanerError(message)
}
