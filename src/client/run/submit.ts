import type { AddTasksResponse, JobErrors, JobInfo } from '../../protocol/client.ts'
import type { Job } from '../job.ts'
import {
  isWorthTelling,
  mayAllBeAlike,
  reasonToStop,
  type StopPolicy,
  type StopReason,
} from './stop-on-failures.ts'
import { readTasks, type Input, type InputSummary } from './input.ts'
import type { Output, Position } from './output.ts'

export interface RunProgress {
  phase: 'checking' | 'submitting' | 'running'
  /** What is in the input, once it was read. */
  input?: InputSummary
  job?: JobInfo
  /** Tasks the manager has committed. */
  submitted: number
  /** Results in the output. */
  done: number
  failed: number
  /** How many of them an earlier run had written. */
  resumed: number
  /** In what ways tasks failed, when there were many more than when it was looked at last. */
  errors?: JobErrors
  /** Tasks that were run before with another content, and run again. */
  changed: number
}

/** Tasks of a job to be submitted. */
export interface Submission {
  readonly job: Job
  readonly input: Input
  /** Some rows are left out, having the id of an earlier one. */
  readonly hasTwins: boolean
  readonly report: (change: Partial<RunProgress>) => void
  readonly signal: AbortSignal | undefined
}

/** Adds all tasks of an input to a job, and says that there are no more. */
export async function submitAll(
  { job, input, hasTwins, report, signal }: Submission,
  replace: boolean,
): Promise<void> {
  let submitted = 0
  let changed = 0
  const onBatch = (batch: AddTasksResponse) => {
    submitted += batch.added + batch.known + batch.changed
    changed += batch.changed
    report({ submitted, ...(replace && { changed }) })
  }
  await job.add(readTasks(input, hasTwins), { signal, onBatch, replace })
  report({ phase: 'running', job: await job.close({ signal }) })
}

/**
 * Adds tasks and writes results side by side, until all have both happened.
 *
 * @returns why it ended early, if it did; the job is cancelled then
 */
export async function submitAndCollect(
  submission: Submission,
  file: Output,
  policy: StopPolicy,
): Promise<StopReason | undefined> {
  const { job, report, signal: outer } = submission
  const failure = new AbortController()
  const signal = outer ? AbortSignal.any([outer, failure.signal]) : failure.signal
  const enough = new AbortController()
  const { start } = file
  let stopped: StopReason | undefined

  const submit = async () => {
    try {
      const either = AbortSignal.any([signal, enough.signal])
      await submitAll({ ...submission, signal: either }, false)
    } catch (error) {
      // What the job was cancelled for is told by who cancelled it.
      if (!enough.signal.aborted) throw error
    }
  }
  const look = async (before: Position) => {
    const now = file.position
    if (stopped !== undefined || now.failed === before.failed) return
    if (now.done + now.failed <= start.done + start.failed) return
    const mayBeAlike = mayAllBeAlike(before, now)
    if (mayBeAlike || isWorthTelling(before.failed, now.failed)) {
      const errors = await job.errors({ signal })
      report({ errors })
      if (mayBeAlike) stopped = reasonToStop(policy, now, errors.kinds)
    }
    const fresh = { done: now.done - start.done, failed: now.failed - start.failed }
    stopped ??= reasonToStop(policy, fresh, undefined)
    if (stopped === undefined) return
    enough.abort()
    await job.cancel({ signal })
  }
  const collect = async () => {
    const { cursor: after, epoch } = file.position
    for await (const page of job.pages({ after, epoch, exact: true, values: file.takesValues, signal })) {
      const before = file.position
      await file.write(page.results, page.epoch)
      const { done, failed } = file.position
      report({ job: page.job, done, failed })
      await look(before)
    }
  }

  // One that fails stops the other, which must be over before the file is closed.
  const guarded = (work: Promise<void>) => work.catch((error: unknown) => failure.abort(error))
  await Promise.all([guarded(submit()), guarded(collect())])
  signal.throwIfAborted()
  // A job that had finished before looks read out until the first of the new tasks is there.
  await collect()
  return stopped
}
