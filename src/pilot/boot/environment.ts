import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { explain } from '../../protocol/primitives.ts'
import { PilotEnvironment } from '../../protocol/pilot-environment.ts'
import { PilotError } from '../exit-codes.ts'

/** What pilot.sh left for the worker. @throws PilotError `settings`, which names the variable */
export function readEnvironment(env: NodeJS.ProcessEnv): PilotEnvironment {
  // An empty variable is one that the batch system does not set.
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''))
  const parsed = PilotEnvironment.safeParse(set)
  if (parsed.success) return parsed.data
  throw new PilotError(
    'GLEANER_PILOT_SETTINGS',
    `${explain(parsed.error)}: is this worker booted by pilot.sh?`,
  )
}

/** The manager's addresses, in the order they are to be tried. */
export function managerOrigins({ GLEANER_MANAGER }: PilotEnvironment): [string, ...string[]] {
  const origins = GLEANER_MANAGER.split(/[\s,]+/).filter((text) => text !== '')
  const [first, ...others] = origins.map((origin) => {
    const parsed = z.url({ protocol: /^https?$/ }).safeParse(origin)
    if (!parsed.success)
      throw new PilotError('GLEANER_PILOT_SETTINGS', `GLEANER_MANAGER: ${origin} is not a URL of http(s)`)
    return origin
  })
  if (first === undefined)
    throw new PilotError('GLEANER_PILOT_SETTINGS', 'GLEANER_MANAGER: name at least one URL')
  return [first, ...others]
}

/** A file that the environment names. @throws PilotError `settings` */
export async function readNamed(variable: string, path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw new PilotError('GLEANER_PILOT_SETTINGS', `${variable}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}
