import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LoggedEvent } from './pilot-time-account.ts'

/** A pilot's file in the folder of its submission. @throws if there is none */
export async function fileOf(state: string, site: string, name: string): Promise<string> {
  const submissions = join(state, 'submissions', site)
  for (const submission of await readdir(submissions)) {
    const path = join(submissions, submission, name)
    if ((await readFile(path).catch(() => undefined)) !== undefined) return path
  }
  throw new Error(`${name} is in no folder of ${submissions}`)
}

/** What a pilot's log says of contexts, among its other lines. */
export async function readEvents(log: string): Promise<LoggedEvent[]> {
  const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line.startsWith('{'))
  return lines
    .map((line) => JSON.parse(line) as { time: number; msg?: string; type?: string })
    .filter(({ msg }) => msg === 'context')
    .map(({ time, type }) => ({ at: time, type: type! }))
}
