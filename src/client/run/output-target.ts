import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { InputError } from '../errors.ts'
import { besides, kindOf, type FileKind, type Format } from '../formats/format-names.ts'
import { STDOUT } from '../formats/write-bytes.ts'
import { outputSize } from './output.ts'
import { STDIN, type Source } from './input-source.ts'
import { errorsPath } from './table-output.ts'

export interface TargetOptions {
  /** Default: `NAME.results.EXTENSION` in the working directory; standard output for standard input. */
  output?: string | undefined
  /** Default: what the output's name says, or else the input's. */
  outputFormat?: Format | undefined
  /** Rows in the order of the input. Tables are in any case. */
  ordered?: boolean | undefined
  /** Whether results come with the columns of their rows. Default: if input or output is a table. */
  keepColumns?: boolean | undefined
}

/** What a run writes. */
export interface Target {
  /** Absolute, or `-`. */
  readonly path: string
  readonly kind: FileKind
  readonly keepColumns: boolean
  /** Results are written as they come, one line each; otherwise all when the job has ended. */
  readonly isJournal: boolean
}

const TABLES: readonly Format[] = ['csv', 'tsv', 'parquet']

/** @throws {InputError} if it cannot be an output, or is one of the inputs */
export async function openTarget(source: Source, options: TargetOptions): Promise<Target> {
  const path = await outputPath(source, options.output)
  const kind = outputKind(source, path, options.outputFormat)
  const formats = source.files.map((file) => file.kind.format)
  const isTable = [...formats, kind.format].some((format) => TABLES.includes(format))
  const keepColumns = options.keepColumns ?? isTable
  const isPlain = kind.format === 'jsonl' && kind.packing === undefined && path !== STDOUT
  return { path, kind, keepColumns, isJournal: isPlain && !keepColumns && !options.ordered }
}

function outputKind(source: Source, path: string, given: Format | undefined): FileKind {
  const named = kindOf(path)
  const input = source.files[0]!.kind.format
  const wanted = given ?? named.format ?? input
  const format = wanted === 'jsonl' && input === 'openai' && given === undefined ? 'openai' : wanted
  if (format === 'openai' && input !== 'openai')
    throw new InputError('only requests of the OpenAI API have answers that are written as such')
  if (format === 'parquet' && named.packing)
    throw new InputError(`${path}: Parquet compresses by itself: leave out the .${path.split('.').at(-1)}`)
  return { format, packing: named.packing }
}

async function outputPath(source: Source, given: string | undefined): Promise<string> {
  const [file, ...others] = source.files
  const isStdin = source.identity.startsWith('stdin:')
  if (given === STDOUT || (given === undefined && isStdin)) return STDOUT
  if (given === undefined && others.length > 0)
    throw new InputError('there are several inputs: say with --out where their results go')
  const path = given ?? besides(basename(file!.name === STDIN ? 'stdin' : file!.name), 'results')
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) throw new InputError(`${path} is a folder: name a file in it`)
  if (found && !found.isFile())
    throw new InputError(
      `${path} is not a file: an output must be one, so that a run can go on, or - for standard output`,
    )
  const absolute = join(await realpath(dirname(resolve(path))), basename(path))
  for (const written of [absolute, errorsPath(absolute)]) {
    const real = await realpath(written).catch(() => written)
    if (source.files.some((each) => each.path === real))
      throw new InputError('input and output are the same file')
  }
  return absolute
}

/**
 * Makes sure that an output, which no earlier run has written, takes the place of nothing. One that is written as results come is
 * looked through instead.
 * @throws {InputError} if there is something
 */
export async function refuseOccupied({ path, isJournal }: Target): Promise<void> {
  if (path === STDOUT) return
  for (const file of isJournal ? [errorsPath(path)] : [path, errorsPath(path)]) {
    if ((await outputSize(file)) === 0) continue
    throw new InputError(
      `${file} is there, and is not the output of this run: choose another --out, or move the file away; ` +
        '--restart overwrites it',
    )
  }
}
