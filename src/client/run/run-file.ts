import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { AddTasksResponse, JobErrors, JobInfo, JobOptions } from '../../protocol/client.ts'
import type { ContextSpec } from '../../protocol/context.ts'
import type { Client } from '../client.ts'
import { ApiError, InputError } from '../errors.ts'
import type { Job } from '../job.ts'
import { accuracy } from './accuracy.ts'
import { isWorthTelling, mayAllBeAlike, reasonToStop, type StopPolicy, type StopReason } from './failures.ts'
import { checkInput, readTasks, type InputSummary } from './input.ts'
import { formerRun, latestRun, runName } from './job-name.ts'
import {
  findPosition,
  openOutput,
  outputSize,
  OutputLostError,
  START,
  type Output,
  type Position,
} from './output.ts'

export interface RunOptions {
  /** A file with one task a line, each a JSON object or string; a task's `id` is its field `id` or its line number. */
  input: string
  /** The file that gets one line a result, in the order in which they come. */
  output: string
  /** A context's name. */
  context: string
  /** Default: the context's first function. */
  function?: string | undefined
  /** The job's name. Default: derived from context, function, input and output. */
  name?: string | undefined
  job?: Partial<JobOptions>
  /** Leave out lines that are no tasks, instead of refusing the whole input. */
  skipInvalid?: boolean
  /** Measure accuracy: a result's `label` should equal this field of its task. */
  expect?: string | undefined
  /** Do not go on with an earlier run: cancel its job, overwrite the output and infer everything again. */
  restart?: boolean
  /** Run the tasks of an earlier run that failed again, and what a run that ended early had not run; the output is written anew. */
  retryFailed?: boolean
  /** End at the first failure. */
  failFast?: boolean
  /** Go on even if the first hundred tasks all failed alike, which otherwise ends the run. */
  keepGoing?: boolean
  signal?: AbortSignal
  /** Told whenever something has changed. */
  onProgress?: (progress: RunProgress) => void
}

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

export interface RunSummary {
  job: JobInfo
  input: InputSummary
  /** Results in the output. */
  done: number
  failed: number
  resumed: number
  /** In what ways tasks failed. */
  errors: JobErrors
  /** Set if it ended early, its job cancelled. */
  stopped: StopReason | undefined
  changed: number
  /** From 0 to 1, if it was asked for. */
  accuracy: number | undefined
}

/**
 * Runs a file of tasks and writes their results to another. The same call again goes on where the first one was
 * interrupted, whichever of the parties was killed: nothing is inferred twice and no line is written twice. Lines added
 * to the input since are run; those that have changed are run again, and the output is written anew; results of lines that are
 * there no more stay. So does what is found when the ledger was restored from a backup meanwhile, or something else has touched
 * the output.
 *
 * @throws InputError before anything is submitted; otherwise GleanerError, or an error of the filesystem
 */
export async function runFile(client: Client, options: RunOptions): Promise<RunSummary> {
  const { signal, expect, restart = false } = options
  const { input, output } = await checkedPaths(options.input, options.output)
  const progress: RunProgress = {
    phase: 'checking',
    submitted: 0,
    done: 0,
    failed: 0,
    resumed: 0,
    changed: 0,
  }
  const report = (change: Partial<RunProgress>) => {
    Object.assign(progress, change)
    options.onProgress?.(progress)
  }
  report({})

  const checked = await checkInput(input, { skipInvalid: options.skipInvalid ?? false, expect, signal })
  report({ input: checked })
  const context = await findContext(client, options)
  const identity = { contextId: context.id, function: options.function, input, output }
  const jobs = await client.jobs({ signal })
  const { latest, nextName } = latestRun(jobs, options.name ?? runName(identity))
  const former = formerRun(jobs, identity, context.name, options.name)
  const isChanged = former !== undefined && !restart && (!latest || latest.id === former.id)
  // The context was mended: nothing of the job that it failed is worth keeping.
  const isMended = isChanged && former.problem !== undefined && former.done === 0
  if (isMended) await client.job(former.id).cancel({ signal })
  else if (isChanged) await refuseChanged(former, output)
  const earlier = restart || (isMended && latest?.id === former.id) ? undefined : latest
  if (earlier?.state === 'cancelled' && !options.retryFailed) {
    throw new InputError(
      `job ${earlier.id} was cancelled: --retry-failed goes on with it, --restart begins anew`,
    )
  }
  const wasRetried = (earlier?.retried ?? 0) > 0
  const found = restart
    ? { position: START, outdated: true }
    : await findPosition(output, earlier && client.job(earlier.id), { wasRetried, signal })

  const name = earlier?.name ?? nextName
  let job = await takeUp(client, options, context, earlier, name)
  for (const open of new Set([latest, former])) {
    if (restart && open?.state === 'open') await client.job(open.id).cancel({ signal })
  }
  if (options.retryFailed && earlier) await job.retry({ signal })
  const { failFast = false, keepGoing = false } = options
  let stopped: StopReason | undefined
  let from = found.position
  let clear = found.outdated || (options.retryFailed ?? false)

  let replace = false
  for (let attempt = 1; ; attempt++) {
    await using file = await openOutput(output, from)
    if (clear) await file.clear()
    report({ phase: 'submitting', job: await job.info({ signal }), submitted: 0, ...counts(file.position) })
    try {
      if (replace) await submitAll(job, input, true, report, signal)
      stopped = await submitAndCollect(job, input, file, { failFast, keepGoing }, report, signal)
      await file.finish()
      break
    } catch (error) {
      const trouble = troubleOf(error)
      if (!trouble || attempt === ATTEMPTS) throw error
      replace = trouble === 'changed'
      clear = trouble !== 'output'
      if (trouble === 'rewound') job = await takeUp(client, options, context, undefined, name)
      const damaged = !(error as OutputLostError).replaced
      from = clear ? START : (await findPosition(output, job, { damaged, signal })).position
    }
  }
  const { input: _checked, submitted: _submitted, phase: _phase, ...reached } = progress
  return {
    ...reached,
    job: await job.info({ signal }),
    input: checked,
    errors: await job.errors({ signal }),
    stopped,
    accuracy: expect === undefined ? undefined : await accuracy(input, output, expect),
  }
}

/**
 * What a run has so far was made by a context that is not the same any more: it is not mixed with what that makes now.
 * @throws InputError unless there is nothing left of it
 */
async function refuseChanged({ id, name, context, state, done }: JobInfo, output: string): Promise<void> {
  if (state !== 'open' && (await outputSize(output)) === 0) return
  throw new InputError(
    `context ${context} has changed since job ${id} (${name}), which has ${done} results: --restart runs everything in the ` +
      'context as it is now and overwrites the output; another --out keeps both; to go on with the job, register the context as it was',
  )
}

/** The job to go on with, or a new one. One that is retried is open again, or soon will be. */
async function takeUp(
  client: Client,
  { function: fn, job: given, retryFailed, signal }: RunOptions,
  context: ContextSpec,
  earlier: JobInfo | undefined,
  name: string,
): Promise<Job> {
  if (retryFailed && earlier) return client.job(earlier.id)
  return await client.createJob(
    { name, context: context.name, function: fn, options: given ?? {} },
    { signal },
  )
}

/** How often a run begins its reading and writing over before it gives up. */
const ATTEMPTS = 20

/**
 * What sends a run back to the start of its results: lines that are not what they were, another ledger in place of the one that it
 * read, an output that something else has changed.
 */
function troubleOf(error: unknown): 'changed' | 'rewound' | 'output' | undefined {
  if (error instanceof OutputLostError) return 'output'
  if (!(error instanceof ApiError)) return undefined
  if (error.code === 'GLEANER_INPUT_CHANGED') return 'changed'
  return ['GLEANER_RESULTS_REWOUND', 'GLEANER_NOT_FOUND'].includes(error.code) ? 'rewound' : undefined
}

const counts = ({ done, failed }: Position) => ({ done, failed, resumed: done + failed })

/** Adds all tasks of an input to a job, and says that there are no more. */
async function submitAll(
  job: Job,
  input: string,
  replace: boolean,
  report: (change: Partial<RunProgress>) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  let submitted = 0
  let changed = 0
  const onBatch = (batch: AddTasksResponse) => {
    submitted += batch.added + batch.known + batch.changed
    changed += batch.changed
    report({ submitted, ...(replace && { changed }) })
  }
  await job.add(readTasks(input), { signal, onBatch, replace })
  report({ phase: 'running', job: await job.close({ signal }) })
}

/**
 * Adds tasks and writes results side by side, until all have both happened.
 *
 * @returns why it ended early, if it did; the job is cancelled then
 */
async function submitAndCollect(
  job: Job,
  input: string,
  file: Output,
  policy: StopPolicy,
  report: (change: Partial<RunProgress>) => void,
  outer: AbortSignal | undefined,
): Promise<StopReason | undefined> {
  const failure = new AbortController()
  const signal = outer ? AbortSignal.any([outer, failure.signal]) : failure.signal
  const enough = new AbortController()
  const start = file.position
  let stopped: StopReason | undefined

  const submit = async () => {
    try {
      await submitAll(job, input, false, report, AbortSignal.any([signal, enough.signal]))
    } catch (error) {
      // What the job was cancelled for is told by who cancelled it.
      if (!enough.signal.aborted) throw error
    }
  }
  const look = async (before: Position) => {
    const now = file.position
    if (stopped !== undefined || now.failed === before.failed) return
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
    for await (const page of job.pages({ after, epoch, exact: true, signal })) {
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

async function findContext(
  client: Client,
  { context, function: fn, signal }: RunOptions,
): Promise<ContextSpec> {
  const contexts = await client.contexts({ signal })
  const found = contexts.find(({ name }) => name === context)
  if (!found) {
    const known = contexts.map(({ name }) => name).join(', ')
    throw new InputError(
      `there is no context ${context}: ` +
        (known ? `the factory knows ${known}` : 'the factory knows none, add one with "factory context add"'),
    )
  }
  const functions = Object.keys(found.spec.functions)
  if (fn !== undefined && !functions.includes(fn)) {
    throw new InputError(`context ${context} has no function ${fn}: it has ${functions.join(', ')}`)
  }
  return found
}

/** What can be read or written but once cannot be gone on with. */
async function refuseStream(path: string): Promise<void> {
  const found = path === '-' ? undefined : await stat(path).catch(() => ({ isFile: () => true }))
  if (!found?.isFile())
    throw new InputError(`${path} is not a file: input and output must be files, so that a run can go on`)
}

/** Both paths made absolute and free of links, so that the same files always make the same run. */
async function checkedPaths(input: string, output: string): Promise<{ input: string; output: string }> {
  for (const path of [input, output]) await refuseStream(path)
  const from = await realpath(input)
  const to = join(await realpath(dirname(resolve(output))), basename(output))
  if ((await realpath(to).catch(() => to)) === from)
    throw new InputError('input and output are the same file')
  return { input: from, output: to }
}
