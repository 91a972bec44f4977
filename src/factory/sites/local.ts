import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type LocalSiteConfig, templateVariables } from '../config/config.ts'
import { type Submission, pilotLog, readSubmissions } from '../submissions/submission.ts'
import { renderTemplate, shippedTemplate } from '../submissions/submit-template.ts'
import { localFiles } from '../transports/local-files.ts'
import { localTransport } from '../transports/local-transport.ts'
import { type Job, type Site, SubmitRefused } from './site.ts'

/** A process as `jobs/PILOT` names it: its number alone may belong to another process by now. */
type Identity = { pid: number; boot: string; startTime: string }

/** Variables of the factory's own environment that a pilot gets: what it needs to run, and no secrets. */
const passedOn =
  /^(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|(CUDA|ROCR|NVIDIA)_\w+|\w+_proxy)$/i

/**
 * Pilots as processes of this machine. Each leads a session and process group of its own, so that it outlives a factory
 * that dies and goes as a whole when it is removed.
 *
 * @param onExit called when a pilot that this process started has ended.
 */
export function localSite(config: LocalSiteConfig, siteFolder: string, onExit: () => void): Site {
  const removed = new Set<string>()
  /** Pilots started here that run: their scripts may not have written down who they are yet. */
  const children = new Map<string, number>()

  return {
    lateness: 1_000,
    certain: true,
    largest: Infinity,

    files: localFiles,
    sharesFiles: true,

    render: (submission) => ({
      name: 'local.sh',
      content: renderTemplate(config.template ?? shippedTemplate('local.sh'), {
        site: templateVariables(config),
        submission,
      }),
    }),

    command: (submission) => ['/bin/sh', join(submission.folder, 'local.sh'), 'PILOT'],

    // Any machine runs a process.
    check: () => Promise.resolve({ accepted: true, said: '' }),

    async submit(submission) {
      const jobs: { pilot: string; jobId: string }[] = []
      for (const pilot of submission.pilots) {
        const log = await open(pilotLog(submission, pilot), 'a', 0o600).catch(refuse)
        const child = start(submission, pilot, log)
        if (child.pid === undefined) await once(child, 'error').then(([error]) => refuse(error as Error))
        children.set(pilot, child.pid!)
        // Nothing may come between: a pilot can be gone in no time.
        child.once('exit', () => {
          children.delete(pilot)
          onExit()
        })
        await log.close()
        jobs.push({ pilot, jobId: String(child.pid) })
      }
      return jobs
    },

    ask: (command, signal) => localTransport().run(command, { signal }),

    async list() {
      const submissions = await readSubmissions(siteFolder)
      const jobs = new Map<string, Job>()
      for (const [pilot, pid] of children) jobs.set(pilot, { jobId: String(pid), pilot, state: 'running' })
      for (const submission of submissions)
        for (const job of await listOne(submission, removed)) jobs.set(job.pilot, job)
      return { jobs: [...jobs.values()], complete: true, oddities: [] }
    },

    async remove(jobs, { unlessRunning }) {
      // A process runs from the start.
      if (unlessRunning) return
      for (const submission of await readSubmissions(siteFolder)) {
        for (const { pilot } of jobs.filter((job) => submission.pilots.includes(job.pilot))) {
          const process = await identity(submission, pilot)
          if (!process || removed.has(pilot) || !(await isAlive(process))) continue
          removed.add(pilot)
          signal(process.pid, 'SIGTERM')
          setTimeout(() => void killGroup(process), config.grace * 1000).unref()
        }
      }
    },
  }
}

function start(submission: Submission, pilot: string, log: FileHandle): ChildProcess {
  const child = spawn('/bin/sh', ['./local.sh', pilot], {
    cwd: submission.folder,
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => passedOn.test(name))),
  })
  child.unref()
  return child
}

function refuse(error: Error): never {
  throw new SubmitRefused(`cannot start a process: ${error.message}`, { cause: error })
}

async function listOne(submission: Submission, removed: Set<string>): Promise<Job[]> {
  const jobs: Job[] = []
  const names = await readdir(join(submission.folder, 'jobs')).catch(() => [])
  for (const pilot of names.filter((name) => !name.startsWith('.'))) {
    const process = await identity(submission, pilot)
    if (process && (await isAlive(process))) {
      jobs.push({ jobId: String(process.pid), pilot, state: removed.has(pilot) ? 'ending' : 'running' })
    } else if (process) {
      // Whatever it started goes with it, as in a batch system.
      await killGroup(process)
      removed.delete(pilot)
      await rm(join(submission.folder, 'jobs', pilot), { force: true })
    }
  }
  return jobs
}

async function identity(submission: Submission, pilot: string): Promise<Identity | undefined> {
  const text = await readFile(join(submission.folder, 'jobs', pilot), 'utf8').catch(() => '')
  const [boot, ...stat] = text.trim().split(' ')
  const parsed = parseStat(stat.join(' '))
  return boot && parsed ? { ...parsed, boot } : undefined
}

/** The process is there, is the same one, and is more than a zombie. */
async function isAlive(process: Identity): Promise<boolean> {
  const [boot, stat] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    readFile(`/proc/${process.pid}/stat`, 'utf8').catch(() => ''),
  ])
  const now = parseStat(stat)
  return boot.trim() === process.boot && now?.startTime === process.startTime && now.state !== 'Z'
}

/** proc(5): the name in parentheses may hold anything; the state follows it, and 19 fields on the start time. */
function parseStat(stat: string) {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state, startTime] = [fields[0], fields[19]]
  return state && startTime ? { pid: parseInt(stat), state, startTime } : undefined
}

/** Kills what is left of a pilot's process group, unless its number has been given to another process since. */
async function killGroup(process: Identity): Promise<void> {
  const leader = parseStat(await readFile(`/proc/${process.pid}/stat`, 'utf8').catch(() => ''))
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8')
  if (boot.trim() !== process.boot || (leader && leader.startTime !== process.startTime)) return
  signal(-process.pid, 'SIGKILL')
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // Gone, or its number is another user's by now.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}
