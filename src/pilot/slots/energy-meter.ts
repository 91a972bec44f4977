import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { amdWatts, nvidiaWatts } from '../policy/power-readings.ts'

/** Sums up what the GPUs of a pilot draw, for as long as it is there. */
export interface EnergyMeter extends Disposable {
  /** Joules since it began; undefined if the driver does not tell. */
  readonly joules: number | undefined
}

/** Time from one reading to the next, milliseconds: each takes a process. */
const READ_MS = 5_000
const QUERY_MS = 20_000

interface PowerReader {
  command: string
  args: (ids: readonly string[]) => string[]
  watts: (output: string) => number | undefined
}

const READERS: readonly PowerReader[] = [
  {
    command: 'nvidia-smi',
    args: (ids) => ['--query-gpu=power.draw', '--format=csv,noheader,nounits', `--id=${ids.join(',')}`],
    watts: nvidiaWatts,
  },
  {
    command: 'amd-smi',
    args: (ids) => ['metric', '--power', '--json', '--gpu', ...ids],
    watts: amdWatts,
  },
]

/**
 * Reads the power of these GPUs now and then. Between two readings it counts with their mean. It asks no more once no driver
 * has told anything.
 */
export function meterEnergy(ids: readonly string[], readMs = READ_MS): EnergyMeter {
  let joules: number | undefined
  let last: { watts: number; at: number } | undefined
  let timer: NodeJS.Timeout | undefined
  let isOver = false

  async function read(readers: readonly PowerReader[]): Promise<void> {
    const told = await firstTold(readers, ids)
    if (isOver) return
    if (told) note(told.watts, performance.now())
    // One that has told goes on being asked, also when it fails once.
    const next = told ? [told.reader] : last ? readers : []
    if (next.length > 0) timer = setTimeout(() => void read(next), readMs).unref()
  }

  function note(watts: number, at: number): void {
    const seconds = last ? (at - last.at) / 1000 : 0
    joules = (joules ?? 0) + (seconds * (watts + (last?.watts ?? watts))) / 2
    last = { watts, at }
  }

  if (ids.length > 0) void read(READERS)
  return {
    get joules() {
      return joules
    },
    [Symbol.dispose]() {
      isOver = true
      clearTimeout(timer)
    },
  }
}

async function firstTold(
  readers: readonly PowerReader[],
  ids: readonly string[],
): Promise<{ reader: PowerReader; watts: number } | undefined> {
  for (const reader of readers) {
    try {
      const { stdout } = await promisify(execFile)(reader.command, reader.args(ids), { timeout: QUERY_MS })
      const watts = reader.watts(stdout)
      if (watts !== undefined) return { reader, watts }
    } catch {
      // There is no such driver, or it does not tell.
    }
  }
  return undefined
}
