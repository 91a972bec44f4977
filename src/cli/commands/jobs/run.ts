import { relative } from 'node:path'
import { Option, type Command } from 'commander'
import type { Client, JobErrors, RunSummary } from '../../../client/index.ts'
import { InputError } from '../../../client/errors.ts'
import { runFile } from '../../../client/run/run-file.ts'
import type { OpenDialect } from '../../../client/run/row-dialect.ts'
import { errorsPath } from '../../../client/run/table-output.ts'
import { fieldOf } from '../../../library/model-folder/describe-context.ts'
import { openRowDialect } from '../../../openai/batch-rows.ts'
import { errorLines } from '../../views/errors-view.ts'
import { exitCodes } from '../../exit/exit-codes.ts'
import { Interrupted } from '../../exit/failure.ts'
import type { RunResult } from '../../json-output/json-shapes.ts'
import { printJson } from '../../json-output/print-json.ts'
import { count, duration, plural, rate } from '../../views/format.ts'
import { onInterrupt } from '../../exit/interrupt.ts'
import { addFileOptions, expandFiles, type FileOptions } from '../../options/file-options.ts'
import { addModelOptions, recognise, registerModel, type ModelOptions } from '../../contexts/model-context.ts'
import { clientFor, seconds, stateOf, wholeNumber } from '../../options/common-options.ts'
import { showProgress } from '../../views/progress/progress.ts'

interface Options extends FileOptions, Partial<ModelOptions> {
  context?: string
  out?: string
  function?: string
  name?: string
  skipInvalid?: boolean
  expect?: string
  retries: number
  timeLimit?: number
  priority: number
  restart?: boolean
  retryFailed?: boolean
  failFast?: boolean
  keepGoing?: boolean
  json?: boolean
}

/** Kinds of error that are shown at the end. */
const ERRORS_SHOWN = 5

export function define(command: Command): void {
  command
    .description(
      'Runs each line of a file, a JSON object or a JSON string, as one task, and writes one line a result, as they come. ' +
        'A task is known by its field "id", or by its line number. The same command again goes on where it was interrupted: ' +
        'nothing is inferred twice, and lines that were added to the file are run too. Rows of CSV, TSV and Parquet, lines of text and ' +
        'OpenAI batch files run as well; docs/formats.md has the rules.',
    )
    .argument('<files...>', 'tasks, one a row; - is standard input')
    .option('--context <name>', 'the context to run them in')
    .addOption(
      new Option('--model <folder>', 'a model folder to run them through, without a context.yaml').conflicts(
        'context',
      ),
    )
    .option('--out <file>', 'where the results go; - is standard output (default: NAME.results.EXTENSION)')
    .option('--function <name>', "function of the context (default: the context's first)")
    .option('--name <job>', 'name of the job (default: made from context, file and output)')
    .option('--skip-invalid', 'leave out lines that are no tasks, instead of refusing the file')
    .option('--expect <field>', "print accuracy: how often a result's label equals this field of its task")
    .option('--retries <times>', 'try a task whose function fails again', wholeNumber(0, 100), 0)
    .option('--time-limit <seconds>', 'longest one task may run', seconds)
    .option('--priority <number>', 'jobs with a higher one go first', wholeNumber(-1000, 1000), 0)
    .addOption(
      new Option('--retry-failed', 'run the tasks that failed again, and what a stopped run left').conflicts(
        'restart',
      ),
    )
    .option('--fail-fast', 'stop at the first task that fails')
    .addOption(
      new Option('--keep-going', 'go on even if the first 100 tasks all failed alike').conflicts('failFast'),
    )
    .option('--json', 'print how it went as JSON')
    .option('--restart', 'begin anew: cancel the earlier job, overwrite the output, infer everything again')
  addFileOptions(command)
  addModelOptions(command).action(run)
}

async function run(given: string[], options: Options, command: Command): Promise<void> {
  using interrupted = onInterrupt()
  using display = showProgress(process.stderr, () => client.status())
  await using client: Client = clientFor(command, {
    onRetry: (error) => display.notice(`${error.message}; trying again`),
  })
  const { function: fn, name, skipInvalid, expect, retries, timeLimit, priority } = options
  const { restart, retryFailed, failFast, keepGoing, json } = options
  if (json && options.out === '-')
    throw new InputError('--json and --out - would both write to standard output: give --out a file')
  const startedAt = performance.now()
  let job: number | undefined
  let told: JobErrors | undefined

  try {
    const input = await expandFiles(given)
    const { context, field } = await chooseContext(client, options, stateOf(command))
    const { map, template } = options
    const summary = await runFile(client, {
      input,
      output: options.out,
      format: options.format,
      outputFormat: options.outFormat,
      ordered: options.ordered,
      keepColumns: options.keepColumns,
      rows: { map, template, field },
      openDialect,
      context,
      function: fn,
      name,
      job: { retries, priority, ...(timeLimit !== undefined && { timeLimitMs: timeLimit }) },
      skipInvalid: skipInvalid ?? false,
      expect,
      restart: restart ?? false,
      retryFailed: retryFailed ?? false,
      failFast: failFast ?? false,
      keepGoing: keepGoing ?? false,
      signal: interrupted,
      onProgress(progress) {
        job = progress.job?.id
        display.update(progress)
        const { errors } = progress
        if (job === undefined || errors === undefined || errors === told) return
        told = errors
        display.print(errorLines(errors, job, 1)[0] ?? '')
      },
    })
    display[Symbol.dispose]()
    const ms = performance.now() - startedAt
    if (json) printJson('factory run', summaryAsJson(summary, ms))
    else report(summary, options.out ?? relative(process.cwd(), summary.output), ms)
    if (adviceAfter(summary, summary.output) !== undefined) process.exitCode = exitCodes.failed
  } catch (error) {
    if (!(error instanceof Interrupted) || job === undefined) throw error
    throw new Interrupted(
      `interrupted: job ${job} goes on. The same command again goes on writing its results; "factory cancel ${job}" ends it`,
    )
  }
}

/** The context that the user named, or one for the model, and the field in which the model's function has its prompt. */
async function chooseContext(
  client: Client,
  { model, context, ...rest }: Options,
  state: string,
): Promise<{ context: string; field?: string | undefined }> {
  const given = MODEL_ONLY.find((option) => rest[option] !== undefined)
  if (model === undefined && given !== undefined)
    throw new InputError(
      `--${toFlag(given)} goes with --model: a context has its settings in its context.yaml`,
    )
  if (context !== undefined) return { context }
  if (model === undefined)
    throw new InputError('name a context with --context, or a model folder with --model')
  const options = { ...rest, model }
  const found = await recognise(options)
  const onNew = () => {
    for (const line of [...found.reasons, ...found.warnings]) console.error(line)
  }
  const name = await registerModel(client, found, options, { state, onNew })
  return { context: name, field: found.task === 'score' ? undefined : fieldOf(found.task) }
}

const MODEL_ONLY = ['weights', 'system', 'maxTokens', 'temperature', 'set'] as const
const toFlag = (option: string) => option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

const openDialect: OpenDialect = (context, row) => {
  try {
    return openRowDialect(context, row)
  } catch (error) {
    throw new InputError((error as Error).message, { cause: error })
  }
}

function summaryAsJson(summary: RunSummary, ms: number): RunResult {
  const { job, input, output, done, failed, resumed, errors, stopped, changed, accuracy } = summary
  return {
    job,
    output,
    ...{ done, failed, resumed, changed, invalid: input.invalid },
    ms: Math.round(ms),
    errors,
    ...(stopped !== undefined && { stopped }),
    ...(accuracy !== undefined && { accuracy }),
  }
}

function report(summary: RunSummary, named: string, ms: number): void {
  const { job, input, done, failed, resumed, changed, accuracy } = summary
  const out = summary.output === '-' ? '-' : named
  // What is piped on has nothing else in it.
  const say = out === '-' ? console.error : console.log
  if (changed > 0) console.error(`${plural(changed, 'line')} changed since: run again`)
  if (input.invalid > 0) {
    const examples = input.examples.map(({ place, reason }) => `${place} ${reason}`).join('; ')
    const what =
      input.invalid === 1 ? '1 line that is no task' : `${count(input.invalid)} lines that are no tasks`
    console.error(`left out ${what}: ${examples}`)
  }
  const fresh = done + failed - resumed
  const speed = fresh > 0 ? ` (${count(fresh)} in ${duration(ms)}, ${rate((fresh * 1000) / ms)}/s)` : ''
  say(`${count(done)} done, ${count(failed)} failed${speed}`)
  if (accuracy !== undefined) say(`accuracy ${accuracy.toFixed(3)}`)
  if (out !== '-') say(`results ${out}`)
  if (failed > 0) console.error(errorLines(summary.errors, job.id, ERRORS_SHOWN).join('\n'))
  const advice = adviceAfter(summary, out)
  if (advice !== undefined) console.error(advice)
}

/** What to do about a run that did not end well. */
function adviceAfter({ job, failed, stopped }: RunSummary, out: string): string | undefined {
  const goOn = 'the same command with --retry-failed runs what failed, and the rest'
  if (stopped === 'all-alike') {
    return `stopped: the first tasks all failed alike. Mend what is wrong, then ${goOn}; --keep-going does not stop`
  }
  if (stopped === 'first-failure') return `stopped at the first failure: ${goOn}`
  if (job.state === 'cancelled') return `job ${job.id} was cancelled: ${goOn}; --restart begins anew`
  if (failed > 0) {
    const where = out === '-' ? `"factory errors ${job.id}"` : errorsPath(out)
    return `${where} says why, task by task; the same command with --retry-failed runs those again`
  }
  return undefined
}
