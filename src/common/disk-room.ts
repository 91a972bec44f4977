import { statSync, statfsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

export type DiskRoom = {
  /** What this user may still write, bytes. A quota may allow less. */
  free: number
  /** Where the filesystem is mounted. */
  mount: string
}

/** The room at a path, or where it would be made; undefined if the system does not tell. */
export function diskRoom(path: string): DiskRoom | undefined {
  try {
    const { bavail, bsize } = statfsSync(existing(path))
    return { free: bavail * bsize, mount: mountOf(existing(path)) }
  } catch {
    return undefined
  }
}

/** The same for the user: `12 MiB left on the filesystem at /tmp`. */
export function sayRoom({ free, mount }: DiskRoom): string {
  return `${toMib(free)} left on the filesystem at ${mount}`
}

export const toMib = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)} MiB`

function existing(path: string): string {
  const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined
  return isThere || dirname(path) === path ? resolve(path) : existing(dirname(resolve(path)))
}

function mountOf(path: string): string {
  const above = dirname(path)
  return above === path || statSync(above).dev !== statSync(path).dev ? path : mountOf(above)
}
