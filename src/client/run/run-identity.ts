import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import type { JobInfo } from '../../protocol/client.ts'

/** What makes two runs the same run. */
export interface RunIdentity {
  contextId: string
  function: string | undefined
  /** Absolute paths. */
  input: string
  output: string
}

/** A job's name that is the same for the same run, and tells a reader of `factory jobs` which file it is about. */
export function runName(identity: RunIdentity): string {
  const { contextId, input, output } = identity
  const hash = createHash('sha256').update(JSON.stringify([contextId, identity.function, input, output]))
  return `${basename(input).slice(0, 100)}-${hash.digest('hex').slice(0, 12)}`
}

/**
 * The last job of the same run but for its context, which is not what it was: its name stands for something else now.
 *
 * @param name the run's own name, if it was given one
 */
export function formerRun(
  jobs: JobInfo[],
  identity: RunIdentity,
  context: string,
  name: string | undefined,
): JobInfo | undefined {
  return jobs.findLast((job) => {
    const { contextId } = job
    if (job.context !== context || contextId === undefined || contextId === identity.contextId) return false
    return latestRun([job], name ?? runName({ ...identity, contextId })).latest !== undefined
  })
}

/**
 * The job an earlier run of that name made last, and the name for one that begins anew: `name`, then `name#2`, and so on.
 */
export function latestRun(jobs: JobInfo[], name: string): { latest: JobInfo | undefined; nextName: string } {
  const turn = (job: JobInfo) => {
    if (job.name === name) return 1
    return job.name.startsWith(`${name}#`) ? Number(job.name.slice(name.length + 1)) || 0 : 0
  }
  const [latest] = jobs.filter((job) => turn(job) > 0).sort((a, b) => turn(b) - turn(a))
  return { latest, nextName: latest ? `${name}#${turn(latest) + 1}` : name }
}
