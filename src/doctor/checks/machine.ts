import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { MachineFacts } from '../policy/judge-machine.ts'

const execute = promisify(execFile)
/** Longest that a question to the system may take, milliseconds. */
const LIMIT_MS = 5_000

/** Looks at this machine. */
export async function lookAtMachine(): Promise<
  Pick<MachineFacts, 'nodeVersion' | 'openFiles' | 'clockKept'>
> {
  return {
    nodeVersion: process.versions.node,
    openFiles: await openFileLimit(),
    clockKept: await isClockKept(),
  }
}

async function openFileLimit(): Promise<number | undefined> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const [, soft] = /^Max open files\s+(\S+)/m.exec(limits) ?? []
  if (soft === undefined) return undefined
  return soft === 'unlimited' ? Infinity : Number(soft)
}

/** Where systemd does not run, nothing is known of it. */
async function isClockKept(): Promise<boolean | undefined> {
  const ask = execute('timedatectl', ['show', '--property=NTPSynchronized', '--value'], { timeout: LIMIT_MS })
  const { stdout } = await ask.catch(() => ({ stdout: '' }))
  const said = stdout.trim()
  return said === '' ? undefined : said === 'yes'
}
