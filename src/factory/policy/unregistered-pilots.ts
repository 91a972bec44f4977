import type { SiteStatus } from '../../protocol/status.ts'
import type { Sighting } from './match-pilots.ts'

/** A pilot that has run for this long without registering has its reason looked for, milliseconds. */
export const SILENT_AFTER_MS = 60_000

/** Pilots that the batch system has started, and whose workers have not registered in time; those that wait longest first. */
export function silentPilots(pilots: readonly Sighting[], now: number): Sighting[] {
  return pilots
    .filter(
      ({ state, registered, since }) => state === 'running' && !registered && now - since >= SILENT_AFTER_MS,
    )
    .toSorted((a, b) => a.since - b.since)
}

/**
 * Why pilots that run have not registered, for the user.
 * @param silent with the end of its log, which is empty where it cannot be read while the pilot runs
 */
export function silenceReasons(
  silent: readonly { pilot: Sighting; log: string }[],
  managerUrl: string,
  now: number,
): SiteStatus['reasons'] {
  const said = Map.groupBy(silent, ({ pilot, log }) => lastSaid(log) ?? advice(pilot, managerUrl))
  return [...said].map(([text, those]) => {
    const longest = Math.max(...those.map(({ pilot }) => now - pilot.since))
    return {
      reason: `running for ${Math.round(longest / 1000)} s, not registered: ${text}`,
      pilots: those.length,
      state: 'running',
    }
  })
}

function advice({ job }: Sighting, managerUrl: string): string {
  const node = job?.node ? `node ${job.node}` : 'its node'
  return `its log says nothing yet; look whether ${node} reaches ${managerUrl} (curl -k ${managerUrl})`
}

const ofPilot = /^gleaner: \S+ on \S+: (.*)$/

/** The last thing that pilot.sh or the worker has said; while setup runs, with its last line. */
function lastSaid(log: string): string | undefined {
  const lines = log.split('\n').filter((line) => line.trim() !== '')
  for (const line of lines.toReversed()) {
    const said = ofPilot.exec(line)?.[1] ?? ofWorker(line)
    if (said === undefined) continue
    if (!said.startsWith('setup runs in ')) return said
    const output = line === lines.at(-1) ? 'and has written nothing' : `and wrote last: ${lines.at(-1)!}`
    return `${said.replace('setup runs', 'setup still runs')}, ${output}`
  }
  return undefined
}

/** A line of the worker's log, which is JSON. */
function ofWorker(line: string): string | undefined {
  try {
    const { msg, reason } = JSON.parse(line) as { msg?: unknown; reason?: unknown }
    if (typeof msg !== 'string') return undefined
    return typeof reason === 'string' ? `${reason}; ${msg}` : msg
  } catch {
    return undefined
  }
}
