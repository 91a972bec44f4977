import { createReadStream, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { InputError } from '../../../client/errors.ts'
import { configFiles, loadConfig } from '../../../factory/config/load-config.ts'
import { findSubmissions, pilotLog } from '../../../factory/submissions/submission.ts'
import { openTransports } from '../../../factory/transports/open-transports.ts'
import type { TaskLog } from '../../../protocol/client.ts'
import { duration } from '../../views/format.ts'
import { onInterrupt } from '../../exit/interrupt.ts'
import { traceText } from '../../views/trace-view.ts'
import { clientFor, stateOf } from '../../options/common-options.ts'
import { findPilot } from '../../options/pilot-names.ts'
import { findRecord, openRecords } from '../../job-records.ts'

/** Most of a log that is brought from a submit node, bytes, and how long that may take, milliseconds. */
const FAR_LOG_MAX = 16 << 20
const FAR_LIMIT = 60_000

/** Time between two looks at a log that grows, milliseconds. */
const FOLLOW_MS = 500

interface Options {
  pilot?: string
  worker?: string
  follow?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Shows the end of what a task that has a result printed, on standard output, and what became of it, on standard error; with ' +
        '--pilot, what a pilot and its worker have said.',
    )
    .argument('[job]', "the job's number or its name")
    .argument('[key]', 'the task\'s key: its field "id", or its line number')
    .option('--pilot <pilot>', "show the log of a pilot, or of a worker's pilot, such as p3 or w3")
    .option('--worker <worker>', "show the log of a worker's pilot, such as w3")
    .option('--follow', 'with --pilot or --worker: go on printing what is added, until Ctrl-C')
    .action(
      async (wanted: string | undefined, key: string | undefined, options: Options, command: Command) => {
        const pilot = options.pilot ?? options.worker
        if (pilot !== undefined) return await showPilotLog(pilot, options.follow ?? false, command)
        if (options.follow) throw new InputError('--follow is for the log of a pilot: name one with --pilot')
        if (wanted === undefined || key === undefined)
          throw new InputError('name a job and the key of one of its tasks, or a pilot with --pilot')
        await using records = await openRecords(command)
        const { id } = await findRecord(records, wanted)
        const task = await records.log(id, key)
        if (task.log !== undefined) process.stdout.write(task.log.replace(/\n?$/, '\n'))
        console.error(summary(task))
      },
    )
}

function summary(task: TaskLog): string {
  return [ending(task), ...traceText(task.traceparent).map((text) => `trace ${text}`)].join('\n')
}

function ending({ status, error, worker, node, ms, log }: TaskLog): string {
  if (status === 'queued') return 'it has no result yet'
  const printed = log === undefined ? ', and printed nothing' : ''
  const where = `on worker ${worker}${node === undefined ? '' : ` (${node})`}, after ${duration(ms ?? 0)}`
  return `${status} ${where}${error ? `: ${error.name}: ${error.message}` : ''}${printed}`
}

/** Logs stay in the state folder for a while after their pilots have ended. */
async function showPilotLog(name: string, follow: boolean, command: Command): Promise<void> {
  const pilot = name.startsWith('w') ? await pilotOf(name, command) : name
  const state = stateOf(command)
  for (const { site, submission } of await findSubmissions(state, pilot)) {
    const file = pilotLog(submission, pilot)
    const far = submission.folder !== submission.record
    const log = far
      ? await farLog(state, site, file)
      : isFile(file) && (follow ? Readable.from(growing(file)) : createReadStream(file))
    if (log) return await pipeline(log, process.stdout, { end: false })
  }
  throw new InputError(`there is no log of ${name}: it has not started, or ended long ago, or never was`)
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
