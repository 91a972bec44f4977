import { readdir, readFile, readlink } from 'node:fs/promises'
import { familyOf } from '../../../common/processes/process-family.ts'

/** A socket that listens, as /proc/net/tcp has it. */
export interface Listener {
  /** The user it belongs to. */
  readonly uid: number
  /** What tells it from every other socket of the machine. */
  readonly inode: string
}

/** Local addresses at which a listener gets what is sent to 127.0.0.1, as the kernel writes them. */
const REACHED = new Set([
  '0100007F',
  '00000000',
  '0'.repeat(32),
  '0000000000000000FFFF00000100007F',
  '0000000000000000FFFF000000000000',
])
const LISTENS = '0A'

/** The listeners of a table such as /proc/net/tcp or /proc/net/tcp6 that get what is sent to 127.0.0.1 and this port. */
export function parseListeners(table: string, port: number): Listener[] {
  const suffix = port.toString(16).toUpperCase().padStart(4, '0')
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = '', , state]) => {
      const [address = '', at] = local.split(':')
      return state === LISTENS && at === suffix && REACHED.has(address)
    })
    .map((fields) => ({ uid: Number(fields[7]), inode: fields[9]! }))
}

/** Who listens at this port of 127.0.0.1, in this process's network. @throws if the system does not tell */
export async function listenersAt(port: number): Promise<Listener[]> {
  const tables = await Promise.all([
    readFile('/proc/self/net/tcp', 'utf8'),
    // A machine without IPv6 has no such table.
    readFile('/proc/self/net/tcp6', 'utf8').catch(() => ''),
  ])
  return tables.flatMap((table) => parseListeners(table, port))
}

/** The inodes of all sockets that a process and its descendants hold. */
export async function socketsOf(pid: number): Promise<Set<string>> {
  const held = await Promise.all((await familyOf(pid)).map(socketsHeldBy))
  return new Set(held.flat())
}

async function socketsHeldBy(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  const descriptors = await readdir(folder).catch(() => [])
  const links = await Promise.all(descriptors.map((name) => readlink(`${folder}/${name}`).catch(() => '')))
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [])
}
