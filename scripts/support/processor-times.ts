import { readdirSync, readFileSync } from 'node:fs'

/** Seconds of the processors that each process of this machine, or of this container, has taken so far: its own, of all its threads. */
export type ProcessorTimes = Map<number, { command: string; seconds: number }>

/** Ticks of the clock in `/proc`, a second. */
const TICKS = 100

export function processorTimes(): ProcessorTimes {
  const times: ProcessorTimes = new Map()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      // Behind the name, which may hold spaces.
      const fields = stat.slice(stat.lastIndexOf(')')).split(' ')
      times.set(pid, { command, seconds: (Number(fields[12]) + Number(fields[13])) / TICKS })
    } catch {
      // It has ended meanwhile.
    }
  }
  return times
}

/** Seconds that processes have taken between two looks, by what `kindOf` makes of their commands. Those that ended before the second do not count. */
export function takenBetween(
  before: ProcessorTimes,
  after: ProcessorTimes,
  kindOf: (command: string) => string,
): Record<string, number> {
  const taken: Record<string, number> = {}
  for (const [pid, { command, seconds }] of after) {
    const kind = kindOf(command)
    taken[kind] = (taken[kind] ?? 0) + seconds - (before.get(pid)?.seconds ?? 0)
  }
  return taken
}
