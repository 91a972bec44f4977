import { rm } from 'node:fs/promises'
import type { ResultRow } from '../../protocol/client.ts'
import { numberText } from '../../protocol/json/exact-numbers.ts'
import { cellText, type OutRow } from '../formats/table-columns.ts'
import { besides, type FileKind } from '../formats/format-names.ts'
import { STDOUT } from '../formats/write-bytes.ts'
import { openRowWriter, type RowWriter } from '../formats/write-rows.ts'
import type { Job } from '../job.ts'
import type { Dialect } from './row-dialect.ts'
import { expectedValue, readTasks, type Input, type RowTask } from './input.ts'
import { fieldsOf } from './row-to-input.ts'
import { toFields } from './output.ts'

/** What becomes of rows and their results in a file. */
export interface TableOptions {
  /** `-` is standard output. */
  path: string
  kind: FileKind
  /** Rows keep the columns that they came with. */
  keepColumns: boolean
  /** Types that the rows' own file states for its columns. */
  stated?: ReadonlyMap<string, string>
  dialect?: Dialect | undefined
}

/** A task that has ended, with the row it comes from. */
export interface EndedTask {
  result: ResultRow
  row: unknown
}

/** Where rows that failed go. */
export const errorsPath = (path: string) => besides(path, 'errors')

/**
 * Writes an output from the first row to the last: those that are done to one file, those that failed to another beside it, which
 * is not there if none did. Both take their places when they are complete. Bounded memory.
 */
export async function writeTable(
  tasks: AsyncIterable<EndedTask>,
  options: TableOptions,
): Promise<{ done: number; failed: number }> {
  const { path, kind, stated } = options
  const counts = { done: 0, failed: 0 }
  await using output = await openRowWriter(path, kind, stated)
  let errors: RowWriter | undefined
  try {
    for await (const task of tasks) {
      const { isError, row } = toOutRow(task, options)
      counts[isError ? 'failed' : 'done']++
      if (!isError) await output.add(row)
      if (isError && path !== STDOUT) {
        errors ??= await openRowWriter(
          errorsPath(path),
          kind.format === 'text' ? { ...kind, format: 'jsonl' } : kind,
          stated,
        )
        await errors.add(row)
      }
      // A line of text is found again by its place.
      if (isError && kind.format === 'text') await output.add({ own: {}, result: { text: '' } })
    }
    await errors?.finish()
    await output.finish()
  } finally {
    await errors?.[Symbol.asyncDispose]()
  }
  if (!errors && path !== STDOUT) await rm(errorsPath(path), { force: true })
  return counts
}

function toOutRow(
  { result, row }: EndedTask,
  { kind, keepColumns, dialect }: TableOptions,
): { isError: boolean; row: OutRow } {
  const isError = result.status !== 'done'
  if (dialect && kind.format === 'openai') {
    const line = dialect.toRow(result, row)
    return { isError: line.isError, row: { own: {}, result: line.fields } }
  }
  const isText = kind.format === 'text' && !isError
  if (!keepColumns && !isText) return { isError, row: { own: {}, result: { ...toFields(result) } } }
  const { error, worker, node, log, value } = result
  const failure = { error: error && `${error.name}: ${error.message}`, worker, node, log }
  return {
    isError,
    row: { own: fieldsOf(row) ?? {}, result: isError ? present(failure) : valueFields(value) },
  }
}

const present = (fields: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

/** The fields of a value, or the value as one field. */
function valueFields(value: unknown): Record<string, unknown> {
  const isFields = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isFields && numberText(value) === undefined ? (value as Record<string, unknown>) : { value }
}

/** Tasks that are looked up together. */
const TOGETHER = 500

/** The tasks of an input that have ended, in its order. */
export async function* endedTasks(
  job: Job,
  input: Input,
  hasTwins: boolean,
  signal: AbortSignal | undefined,
): AsyncGenerator<EndedTask & { task: RowTask }> {
  let batch: RowTask[] = []
  async function* lookUp() {
    const found = await job.findResults(
      batch.map(({ key }) => key),
      { signal },
    )
    const results = new Map(found.map(({ key, result }) => [key, result]))
    for (const task of batch) {
      const result = results.get(task.key)
      if (result) yield { result, row: task.row, task }
    }
    batch = []
  }
  for await (const task of readTasks(input, hasTwins)) {
    batch.push(task)
    if (batch.length === TOGETHER) yield* lookUp()
  }
  if (batch.length > 0) yield* lookUp()
}

/** Counts the results whose `label` is what a field of their task says it should be. */
export function createScore(field: string | undefined) {
  let right = 0
  return {
    note: ({ result, task }: EndedTask & { task: RowTask }) => {
      const { label } = valueFields(result.value)
      const expected = expectedValue(task.input, field)
      if (label !== undefined && label !== null && cellText(label) === cellText(expected)) right++
    },
    /** From 0 to 1, of so many tasks. */
    of: (tasks: number) => right / tasks,
  }
}
