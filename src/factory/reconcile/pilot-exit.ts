import type { PilotRecord } from '../../core/interfaces/pilot-registry.ts'
import type { Job } from '../sites/site.ts'

/** A pilot that lived for less than this after it registered, and finished nothing, failed; milliseconds. */
export const SHORTEST_USEFUL_MS = 10_000

/** pilot.sh's last words: `gleaner: p17 on node3: error 65 bad-hash: the runtime …`. */
const lastWords = /^gleaner: \S+ on (?<node>\S+): error (?<code>\d+) (?<name>[\w-]+): (?<message>.*)$/gm
/** What pilot.sh says before a site's own lines begin to write. */
const setupBegins = /^gleaner: \S+ on \S+: setup runs in .*$/m
/** Most lines of a log that are shown to the user. */
const SHOWN_LINES = 10

export type PilotExit = {
  /** For the ledger and the user. */
  reason: string
  /** Whether it speaks against the site: it was of no use, and it was not evicted. */
  failure: boolean
  /** Where it was, if anything tells. */
  node?: string
}

/**
 * Says how a pilot ended from what its log and the batch system tell.
 * @param job how the queue showed it last, if it did.
 * @param log the end of the pilot's log.
 * @param busy whether there was work for it.
 */
export function explainPilotExit(
  record: PilotRecord,
  job: Job | undefined,
  log: string,
  busy: boolean,
  now: number,
): PilotExit {
  // A pilot that was started several times appends to its log.
  const last = [...log.matchAll(lastWords)].at(-1)
  const words = last?.groups
  const node = record.worker?.node ?? words?.['node'] ?? job?.node
  const evicted = words?.['name'] === 'evicted' || job?.evicted === true
  // Why it once waited is of no interest now.
  const verdict = job?.state === 'ended' || job?.state === 'held' ? job.reason : undefined
  const said = words ? `${words['name']}: ${words['message']}` : verdict
  const before = words?.['name'] === 'setup-failed' ? log.slice(0, last!.index) : ''
  const end = (reason: string, failure: boolean): PilotExit => ({ reason, failure, ...(node && { node }) })

  if (record.registeredAt === undefined) {
    const reason = `the pilot ended before its worker was up (${said ?? unexplained(record)})`
    const output = lastLines(words ? (before.split(setupBegins).at(-1) ?? '') : log)
    const heading = words ? 'its setup wrote' : 'its log ends'
    return end(output ? `${reason}; ${heading}:\n${output}` : reason, !evicted)
  }
  // It may have registered after the queue was asked, which is what `now` stands for.
  const lived = Math.max(0, now - record.registeredAt)
  const useless = busy && !evicted && lived < SHORTEST_USEFUL_MS && !record.worker?.tasksDone
  if (useless)
    return end(
      `the pilot ended ${Math.round(lived / 1000)} s after its worker was up (${said ?? 'see its log'})`,
      true,
    )
  return end(said ?? 'ended', false)
}

const lastLines = (text: string) => text.trim().split('\n').slice(-SHOWN_LINES).join('\n')

const unexplained = ({ jobId }: PilotRecord) =>
  jobId === undefined
    ? 'its submission was not answered, and no job of it has turned up'
    : 'it gave no reason'
