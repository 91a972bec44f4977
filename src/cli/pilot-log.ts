import { createReadStream, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { InputError } from '../client/errors.ts'
import { configFiles, loadConfig } from '../factory/config/load-config.ts'
import { findSubmissions, pilotLog } from '../factory/submissions/submission.ts'
import { openTransports } from '../factory/transports/open-transports.ts'
import { onInterrupt } from './exit/interrupt.ts'
import { clientFor, stateOf } from './options/common-options.ts'
import { findPilot } from './options/pilot-names.ts'

/** Most of a log that is brought from a submit node, bytes, and how long that may take, milliseconds. */
const FAR_LOG_MAX = 16 << 20
const FAR_LIMIT = 60_000

/** Time between two looks at a log that grows, milliseconds. */
const FOLLOW_MS = 500

/**
 * Prints the log of a pilot, or of a worker's pilot. Logs stay in the state folder for a while after their pilots have ended.
 *
 * @param follow whether to go on with what is added until the user interrupts it
 * @throws {InputError} if there is none
 */
export async function showPilotLog(name: string, follow: boolean, command: Command): Promise<void> {
  const pilot = name.startsWith('w') ? await pilotOf(name, command) : name
  const state = stateOf(command)
  const found = await findSubmissions(state, pilot)
  for (const { site, submission } of found) {
    const file = pilotLog(submission, pilot)
    const far = submission.folder !== submission.record
    const log = far
      ? await farLog(state, site, file)
      : isFile(file) && (follow ? Readable.from(growing(file)) : createReadStream(file))
    if (log) return await pipeline(log, process.stdout, { end: false })
  }
  throw new InputError(`there is no log of ${name}${whyNoLog(state, found.at(-1)?.site)}`)
}

/** Why there is no log of a pilot that was submitted at a site, or of one that is not on record. */
function whyNoLog(state: string, site: string | undefined): string {
  const kind = site && loadConfig(configFiles(state)).sites.find(({ name }) => name === site)?.kind
  return kind === 'htcondor'
    ? ' here: HTCondor brings it when the pilot has left by itself; "condor_tail JOB" shows the end of it while it runs ("factory pilots" has the job)'
    : ': it has not started, or ended long ago, or never was'
}

/** What is in a file, and what is added to it, until the user has seen enough. */
async function* growing(file: string): AsyncGenerator<Buffer> {
  using interrupted = onInterrupt()
  await using handle = await open(file)
  while (!interrupted.aborted) {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(65_536), 0, 65_536, null)
    if (bytesRead > 0) yield buffer.subarray(0, bytesRead)
    else await delay(FOLLOW_MS, undefined, { signal: interrupted }).catch(() => {})
  }
}

/** The end of a log on a site's submit node; undefined if there is none. */
async function farLog(state: string, name: string, file: string): Promise<Readable | undefined> {
  const site = loadConfig(configFiles(state)).sites.find((one) => one.name === name)
  if (!site || site.kind === 'local' || !site.transport)
    throw new InputError(
      `${file} is on the submit node of site ${name}, which factory.yaml does not have any more`,
    )
  using transports = openTransports(state)
  const { files } = transports.of(site, [], 'logs')
  const text = await files.tail(file, FAR_LOG_MAX, AbortSignal.timeout(FAR_LIMIT))
  return text ? Readable.from([text]) : undefined
}

const isFile = (file: string) => statSync(file, { throwIfNoEntry: false })?.isFile() === true

async function pilotOf(worker: string, command: Command): Promise<string> {
  await using client = clientFor(command, { patienceMs: 0 })
  return await findPilot(client, worker)
}
