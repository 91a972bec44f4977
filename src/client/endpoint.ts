import { lstatSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { readOwnFile } from '../common/private-path.ts'
import { Endpoint } from '../protocol/client.ts'
import { explain, parseJson } from '../protocol/primitives.ts'
import { InputError, NotRunningError } from './errors.ts'

/** Where a manager listens, and the secret that opens it. */
export interface Address {
  url: string
  token: string
  /** Its certificate (PEM), if it speaks TLS and made the certificate itself. */
  ca?: string | undefined
  /** The user whose it is, if that is known: the owner of its folder. */
  owner?: number | undefined
}

/** The folder a factory keeps everything in: the one given, or `$GLEANER_STATE`, or `~/.gleaner`. */
export function stateFolder(given?: string): string {
  return resolve(given ?? (process.env.GLEANER_STATE || join(homedir(), '.gleaner')))
}

/** The file by which commands find the factory that runs on a state folder. */
export const endpointFile = (state: string): string => join(state, 'endpoint.json')

/**
 * What `endpoint.json` says, or undefined if the file is not there. A factory that was killed leaves the file
 * behind: see {@link isGone}.
 *
 * @throws InputError if the file is not what a factory writes, UnsafePathError if it is another user's
 */
export function readEndpoint(state: string): Endpoint | undefined {
  const file = endpointFile(state)
  let text: string
  try {
    text = readOwnFile(file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
  const parsed = Endpoint.safeParse(parseJson(text))
  if (!parsed.success) {
    throw new InputError(
      `${file} is damaged (${explain(parsed.error)}): stop the factory, delete it and start again`,
    )
  }
  return parsed.data
}

/** The user whose factory runs on a state folder; undefined if none does. Root reads folders of others. */
export function endpointOwner(state: string): number | undefined {
  return lstatSync(endpointFile(state), { throwIfNoEntry: false })?.uid
}

/** The certificate that a factory which listens beyond this machine made for itself; it is trusted, and no other is. */
export async function readCertificate(state: string): Promise<string | undefined> {
  return await readFile(join(state, 'manager.crt'), 'utf8').catch(() => undefined)
}

/** True if the process that wrote this is known to have ended; one on another host is given the benefit of the doubt. */
export function isGone({ host, pid }: Endpoint): boolean {
  if (host !== hostname()) return false
  try {
    process.kill(pid, 0)
    return isZombie(pid)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** Ended, but its parent has not asked how; in containers it often never will. Told by Linux only. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')
  } catch {
    return false
  }
}

export const notRunning = (state: string) =>
  new NotRunningError(`no factory is running on ${state}: start one with "factory start"`)
