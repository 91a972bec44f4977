import { once } from 'node:events'
import { Option, type Command } from 'commander'
import type { JobInfo } from '../../../client/index.ts'
import { InputError } from '../../../client/errors.ts'
import { FORMATS, kindOf, type Format } from '../../../client/formats/format-names.ts'
import { STDOUT } from '../../../client/formats/write-bytes.ts'
import { outputSize, toLine } from '../../../client/run/output.ts'
import { errorsPath, writeTable, type EndedTask } from '../../../client/run/table-output.ts'
import { count } from '../../views/format.ts'
import { findRecord, openRecords, type Records } from '../../job-records.ts'

interface Options {
  out?: string
  format?: Format
  keepColumns?: boolean
  force?: boolean
}

export function define(command: Command): void {
  command
    .description(
      'Prints the results that a job has, one line each, as "factory run" writes them. With --out or --format it writes them in the ' +
        'order in which the tasks were added, as CSV, Parquet and so on with the columns of the inputs. Also while no factory runs.',
    )
    .argument('<job>', "the job's number or its name")
    .option('--out <file>', 'where they go; - is standard output')
    .addOption(
      new Option('--format <kind>', "kind of the file (default: by the output's name)").choices(
        FORMATS.filter((format) => format !== 'openai'),
      ),
    )
    .option('--no-keep-columns', 'results alone, without the columns of the inputs')
    .option('--force', 'overwrite files that are there')
    .action(async (wanted: string, options: Options, command: Command) => {
      await using records = await openRecords(command)
      const job = await findRecord(records, wanted)
      if (options.out !== undefined || options.format !== undefined) await writeResults(records, job, options)
      else
        for await (const row of records.results(job.id)) {
          if (!process.stdout.write(toLine(row))) await once(process.stdout, 'drain')
        }
    })
}

async function writeResults(records: Records, job: JobInfo, options: Options): Promise<void> {
  const { out: path = STDOUT, keepColumns = true, force } = options
  const { format, packing } = kindOf(path)
  const kind = { format: options.format ?? format ?? 'jsonl', packing }
  if (kind.format === 'parquet' && packing)
    throw new InputError(
      `${path}: Parquet compresses by itself: give it a name without .${path.split('.').at(-1)}`,
    )
  for (const file of path === STDOUT || force ? [] : [path, errorsPath(path)]) {
    if ((await outputSize(file)) > 0)
      throw new InputError(`${file} is there already: choose another --out, or overwrite it with --force`)
  }
  const { done, failed } = await writeTable(ended(records, job.id), { path, kind, keepColumns })
  const missing = job.tasks - done - failed
  const left = missing > 0 ? `, ${count(missing)} without a result yet` : ''
  console.error(`${count(done)} done, ${count(failed)} failed${left}`)
}

async function* ended(records: Records, job: number): AsyncGenerator<EndedTask> {
  for await (const { input, result } of records.rows(job)) if (result) yield { row: input, result }
}
