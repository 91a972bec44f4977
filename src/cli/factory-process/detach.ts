import { spawn } from 'node:child_process'
import { closeSync, constants } from 'node:fs'
import { openPrivateFile } from '../../common/private-path.ts'
import { GleanerError } from '../../client/errors.ts'
import { type Failure, ReportedFailure } from '../exit/failure.ts'

/** How the factory's log is opened: what is in it stays. */
export const LOG_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT

/** What a factory in the background tells the command that started it: what it is doing, then once how that ended. */
export type StartReport = { ready: string } | { failed: Failure } | { doing: string }

/** Tells the parent, if this process was started in the background by {@link startDetached}. */
export function reportStart(report: StartReport): void {
  if (!process.connected) return
  process.send?.(report)
  if (!('doing' in report)) process.disconnect()
}

/**
 * Runs the same command in a session of its own and resolves with what it announces when it is ready. Its output goes to
 * the log. `onDoing` hears what takes it a while.
 *
 * @throws what made it fail
 */
export async function startDetached(
  args: string[],
  cwd: string,
  logFile: string,
  onDoing: (what: string) => void,
): Promise<string> {
  const log = openPrivateFile(logFile, LOG_FLAGS)
  const child = spawn(process.execPath, [process.argv[1] ?? '', ...args], {
    cwd,
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
  })
  closeSync(log)
  const report = await new Promise<Exclude<StartReport, { doing: string }> | undefined>((resolve) => {
    child.on('message', (report: StartReport) =>
      'doing' in report ? onDoing(report.doing) : resolve(report),
    )
    child.once('exit', () => resolve(undefined))
  })
  child.unref()
  if (!report) throw new GleanerError(`the factory ended while it was starting: see ${logFile}`)
  if ('ready' in report) return report.ready
  throw new ReportedFailure(report.failed)
}
