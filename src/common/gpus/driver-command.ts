import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** A driver that wakes its GPUs may take a while, milliseconds. */
const QUERY_MS = 20_000

/**
 * The output of a driver's command.
 *
 * @throws if it is not there, fails, or takes too long
 */
export async function askDriver(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { timeout: QUERY_MS })
  return stdout
}
