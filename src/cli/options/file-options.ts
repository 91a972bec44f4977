import { glob, stat } from 'node:fs/promises'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { InputError } from '../../client/errors.ts'
import { FORMATS, type Format } from '../../client/formats/format-names.ts'

/** What a command was told of the files that it reads and writes. */
export interface FileOptions {
  format?: Format
  outFormat?: Format
  map?: Record<string, string>
  template?: string
  ordered?: boolean
  keepColumns?: boolean
}

/** The options that say what files are and how their rows become tasks. */
export function addFileOptions(command: Command): Command {
  return command
    .addOption(new Option('--format <kind>', 'kind of the input (default: by its name)').choices(FORMATS))
    .addOption(outFormat())
    .option('--map <field=column>', 'field of the task that is taken from a column; repeatable', addPair)
    .option('--template <text>', "prompt of each task, with {{ column }} in it: 'Is {{ claim }} true?'")
    .option('--ordered', 'results in the order of the input, written when the run ends (tables are always)')
    .option(
      '--keep-columns',
      'results with the columns of their rows (default: if input or output is a table)',
    )
    .option('--no-keep-columns', 'results alone')
}

/** The option that says what a file that is written is. */
export const outFormat = () =>
  new Option(
    '--out-format <kind>',
    'kind of the output (default: by its name, or that of the input)',
  ).choices(FORMATS)

function addPair(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [, field, column] = /^([^=]+)=(.+)$/s.exec(text) ?? []
  if (field === undefined || column === undefined)
    throw new InvalidArgumentError('It must be a field and a column, such as prompt=question.')
  return { ...before, [field]: column }
}

/** Files by what the user gave: patterns such as `data/*.csv` stand for the files that fit, sorted. */
export async function expandFiles(given: readonly string[]): Promise<string[]> {
  const files: string[] = []
  for (const path of given) {
    const isPattern = /[*?[{]/.test(path) && !(await stat(path).catch(() => undefined))
    const found = isPattern ? (await Array.fromAsync(glob(path))).sort() : [path]
    if (found.length === 0) throw new InputError(`no file fits ${path}`)
    files.push(...found)
  }
  return files
}
