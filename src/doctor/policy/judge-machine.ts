import { duration, size } from '../../common/plain/quantity-text.ts'
import { type Finding, findingsOf } from './finding.ts'

/** What is known of this machine and the state folder; what could not be found out is undefined. */
export interface MachineFacts {
  nodeVersion: string
  /** Soft limit of open files. */
  openFiles: number | undefined
  /** Whether the system says that it keeps its clock by others. */
  clockKept: boolean | undefined
  folder: string
  /** Why the folder is not safe or cannot be used. */
  unsafe: string | undefined
  filesystem: string | undefined
  freeBytes: number | undefined
  freeFiles: number | undefined
  /** `held` or `not-held` where a database was locked and could not, or could, be opened again; else what went wrong with it. */
  locks: string | undefined
  /** Milliseconds that it takes until a small write is on disk, the median of some. */
  syncMs: number | undefined
  /** By how much the clock of the folder's filesystem is ahead of this machine's, milliseconds. */
  filesystemClockMs: number | undefined
}

const GB = 1e9
/** Filesystems that are shared by machines: the locks of one may not be seen by another. */
const SHARED = ['nfs', 'lustre', 'gpfs', 'cifs', 'smb2', 'ceph', 'beegfs', 'afs', 'fuse', '9p']
const MOST_OFF_MS = 2_000

export function judgeMachine(facts: MachineFacts): Finding[] {
  return [judgeNode(facts), ...judgeFiles(facts), ...judgeFolder(facts), ...judgeClock(facts)]
}

function judgeNode({ nodeVersion }: MachineFacts): Finding {
  const { ok, error } = findingsOf('node')
  return Number(nodeVersion.split('.')[0]) >= 24
    ? ok(`Node is ${nodeVersion}.`)
    : error(`Node is ${nodeVersion}.`, 'Gleaner needs Node 24 or newer.', 'npm install node@24')
}

function judgeFiles({ openFiles }: MachineFacts): Finding[] {
  if (openFiles === undefined) return []
  const { ok, warning } = findingsOf('open-files')
  return openFiles >= 4096
    ? [ok(`Up to ${openFiles} files and connections may be open at once.`)]
    : [
        warning(
          `Only ${openFiles} files and connections may be open at once.`,
          'The manager has a few connections to each worker.',
          'ulimit -n 65536, before "factory start"',
        ),
      ]
}

function judgeFolder(facts: MachineFacts): Finding[] {
  const { folder, unsafe, filesystem, freeBytes, freeFiles, locks, syncMs } = facts
  const { ok, warning, error } = findingsOf('state-folder')
  if (unsafe !== undefined)
    return [
      error(
        unsafe,
        'It holds the ledger and secrets, and only this user may be able to change it.',
        'factory --state FOLDER …, or $GLEANER_STATE',
      ),
    ]
  const findings = [
    ok(`${folder} is this user's alone${filesystem === undefined ? '' : `, on ${filesystem}`}.`),
  ]
  if (filesystem === 'tmpfs' || filesystem === 'ramfs')
    findings.push(
      warning(
        `${folder} is in memory (${filesystem}).`,
        'Jobs and results are gone when this machine restarts.',
        'factory --state FOLDER …, on a disk',
      ),
    )
  if (SHARED.some((kind) => filesystem?.startsWith(kind)) && locks === 'held')
    findings.push(
      ok(`${folder} is on a filesystem that machines share: start the factory on one machine only.`),
    )
  if (freeBytes !== undefined && freeBytes < 5 * GB) {
    const judge = freeBytes < 0.5 * GB ? error : warning
    findings.push(
      judge(
        `${size(freeBytes)} are free there.`,
        'Bundles of models, results and logs lie there; a full disk holds up all work.',
        'free some space, or factory --state FOLDER … on another disk',
      ),
    )
  } else if (freeBytes !== undefined) findings.push(ok(`${size(freeBytes)} are free there.`))
  if (freeFiles !== undefined && freeFiles < 10_000)
    findings.push(
      warning(
        `Only ${freeFiles} more files can be made there.`,
        'Each submission and each piece of a bundle makes a few.',
        'raise the quota of files',
      ),
    )
  if (locks !== undefined && locks !== 'held')
    findings.push(
      error(
        locks === 'not-held'
          ? 'Locks of files do not hold there.'
          : `A database cannot be used there: ${locks}`,
        'Two factories could write to one ledger, which destroys it.',
        'factory --state FOLDER …, on a local disk or a filesystem with locks',
      ),
    )
  if (syncMs !== undefined && syncMs > 50)
    findings.push(
      warning(
        `It takes ${duration(syncMs)} until a small write is on disk there.`,
        'Each result is on disk before it is acknowledged; many are written together, but the first waits this long.',
        'factory --state FOLDER …, on a local disk',
      ),
    )
  return findings
}

function judgeClock({ clockKept, filesystemClockMs = 0 }: MachineFacts): Finding[] {
  const { ok, warning } = findingsOf('clock')
  if (Math.abs(filesystemClockMs) > MOST_OFF_MS)
    return [
      warning(
        `The clock of this machine and that of the state folder's filesystem differ by ${duration(Math.abs(filesystemClockMs))}.`,
        'One of the two is wrong; times in logs will not fit together.',
        'have the clocks set by NTP',
      ),
    ]
  return clockKept === false
    ? [
        warning(
          'The clock of this machine is not kept by others (NTP).',
          'Deadlines of jobs are times of the batch system, by its clock.',
          'have it set by NTP',
        ),
      ]
    : [ok('Nothing speaks against the clock of this machine.')]
}
