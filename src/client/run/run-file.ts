import type { JobErrors, JobInfo, JobOptions } from '../../protocol/client.ts'
import type { ContextSpec } from '../../protocol/contexts/context.ts'
import type { Client } from '../client.ts'
import { ApiError, InputError } from '../errors.ts'
import type { Format } from '../formats/format-names.ts'
import { readRows, statedTypes } from '../formats/read-rows.ts'
import { STDOUT } from '../formats/write-bytes.ts'
import type { Job } from '../job.ts'
import type { Dialect, OpenDialect } from './row-dialect.ts'
import type { StopReason } from './stop-on-failures.ts'
import { checkInput, type Input, type InputSummary } from './input.ts'
import { formerRun, latestRun, runName } from './run-identity.ts'
import { copyFailures } from './errors-file.ts'
import { createMapper, type RowMapping } from './row-to-input.ts'
import {
  findPosition,
  openOutput,
  openTally,
  outputSize,
  OutputLostError,
  START,
  type Output,
} from './output.ts'
import { openSource, type Source } from './input-source.ts'
import { submitAll, submitAndCollect, type RunProgress } from './submit.ts'
import { createScore, endedTasks, writeTable } from './table-output.ts'
import { openTarget, refuseOccupied, type Target, type TargetOptions } from './output-target.ts'

export interface RunOptions extends TargetOptions {
  /**
   * Files with one task a row; `-` is standard input. In JSONL, a line is a JSON object or string. A task is known by its field `id`,
   * or by its number.
   */
  input: string | readonly string[]
  /** What kind of files the inputs are. Default: what their names say, or how they begin. */
  format?: Format | undefined
  /** How a row becomes the input of a task. Default: it is the input. */
  rows?: RowMapping | undefined
  /** What answers files of OpenAI requests. */
  openDialect?: OpenDialect | undefined
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

export interface RunSummary {
  job: JobInfo
  input: InputSummary
  /** Its path; `-` for standard output. */
  output: string
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
  await using source = await openSource([options.input].flat(), options.format, signal)
  const target = await openTarget(source, options)
  const { progress, report } = createReport(options.onProgress)
  report({})

  const dialect = await findDialect(client, source, options)
  const toInput = dialect?.toInput ?? createMapper(options.rows ?? {})
  const input: Input = { files: source.files, toInput, keyField: dialect?.keyField }
  const checked = await checkInput(input, { skipInvalid: options.skipInvalid ?? false, expect, signal })
  report({ input: checked })
  const earlier = await findEarlier(
    client,
    { ...options, function: dialect?.function ?? options.function },
    source,
    target,
  )
  const found =
    restart || !target.isJournal
      ? { position: START, outdated: restart }
      : await findPosition(target.path, earlier.job && client.job(earlier.job.id), {
          wasRetried: (earlier.job?.retried ?? 0) > 0,
          signal,
        })
  if (!earlier.job && !restart) await refuseOccupied(target)

  let job = await earlier.takeUp()
  if (options.retryFailed && earlier.job) await job.retry({ signal })
  const { failFast = false, keepGoing = false } = options
  const { hasTwins } = checked
  const score = createScore(expect)
  let stopped: StopReason | undefined
  let from = found.position
  let clear = found.outdated || (options.retryFailed ?? false)

  let replace = false
  for (let attempt = 1; ; attempt++) {
    const info = await job.info({ signal })
    await using file = target.isJournal ? await openOutput(target.path, from) : openTally(info)
    if (clear) await file.clear()
    report({ phase: 'submitting', job: info, submitted: 0, ...counts(file) })
    const submission = { job, input, hasTwins, report, signal }
    try {
      if (replace) await submitAll(submission, true)
      stopped = await submitAndCollect(submission, file, { failFast, keepGoing })
      await file.finish()
      const ended = noting(
        endedTasks(job, input, hasTwins, signal),
        expect === undefined ? undefined : score.note,
      )
      if (target.isJournal) {
        await copyFailures(target.path, file.position.failed)
        if (expect !== undefined) for await (const _ of ended);
      } else {
        const stated = await statedTypes(source.files[0]!)
        report(await writeTable(ended, { ...target, stated, dialect }))
      }
      break
    } catch (error) {
      const trouble = troubleOf(error)
      if (!trouble || attempt === ATTEMPTS) throw error
      replace = trouble === 'changed'
      clear = trouble !== 'output'
      if (trouble === 'rewound') job = await earlier.takeUp(true)
      const damaged = !(error as OutputLostError).replaced
      from = clear ? START : (await findPosition(target.path, job, { damaged, signal })).position
    }
  }
  const { input: _checked, submitted: _submitted, phase: _phase, ...reached } = progress
  return {
    ...reached,
    job: await job.info({ signal }),
    input: checked,
    output: target.path,
    errors: await job.errors({ signal }),
    stopped,
    accuracy: expect === undefined ? undefined : score.of(checked.tasks),
  }
}

function createReport(onProgress: RunOptions['onProgress']) {
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
    onProgress?.(progress)
  }
  return { progress, report }
}

async function* noting<T>(items: AsyncIterable<T>, note: ((item: T) => void) | undefined): AsyncGenerator<T> {
  for await (const item of items) {
    note?.(item)
    yield item
  }
}

const counts = ({ position: { done, failed }, start }: Output) => ({
  done,
  failed,
  resumed: start.done + start.failed,
})

/** What answers the requests of a file, if it has such. */
async function findDialect(
  client: Client,
  source: Source,
  options: RunOptions,
): Promise<Dialect | undefined> {
  const [file] = source.files
  if (file?.kind.format !== 'openai') return undefined
  if (!options.openDialect)
    throw new InputError(`${file.name} has requests of the OpenAI API, which are not run here`)
  const context = await findContext(client, options)
  for await (const row of readRows(file))
    if (!('reason' in row)) return options.openDialect(context, row.value)
  throw new InputError(`${file.name} has no line that is JSON`)
}

/** What an earlier run of the same kind has left, and how to go on with it or begin a new one. */
async function findEarlier(client: Client, options: RunOptions, source: Source, target: Target) {
  const { signal, restart = false } = options
  const context = await findContext(client, options)
  const identity = {
    contextId: context.id,
    function: options.function,
    input: source.identity,
    output: target.path,
  }
  const jobs = await client.jobs({ signal })
  const { latest, nextName } = latestRun(jobs, options.name ?? runName(identity))
  const former = formerRun(jobs, identity, context.name, options.name)
  const isChanged = former !== undefined && !restart && (!latest || latest.id === former.id)
  // The context was mended: nothing of the job that it failed is worth keeping.
  const isMended = isChanged && former.problem !== undefined && former.done === 0
  if (isMended) await client.job(former.id).cancel({ signal })
  else if (isChanged) await refuseChanged(former, target.path)
  const job = restart || (isMended && latest?.id === former.id) ? undefined : latest
  if (job?.state === 'cancelled' && !options.retryFailed) {
    throw new InputError(`job ${job.id} was cancelled: --retry-failed goes on with it, --restart begins anew`)
  }
  return {
    job,
    /** @param anew the job is lost: make it again */
    async takeUp(anew = false): Promise<Job> {
      const taken = await takeUp(client, options, context, anew ? undefined : job, job?.name ?? nextName)
      for (const open of new Set([latest, former])) {
        if (restart && !anew && open?.state === 'open') await client.job(open.id).cancel({ signal })
      }
      return taken
    },
  }
}

/**
 * What a run has so far was made by a context that is not the same any more: it is not mixed with what that makes now.
 * @throws InputError unless there is nothing left of it
 */
async function refuseChanged({ id, name, context, state, done }: JobInfo, output: string): Promise<void> {
  if (state !== 'open' && (output === STDOUT || (await outputSize(output)) === 0)) return
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
