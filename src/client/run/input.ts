import { isSameNumber, numberText } from '../../protocol/json/exact-numbers.ts'
import { InputError } from '../errors.ts'
import type { Row } from '../formats/row.ts'
import { readRows, type InputFile } from '../formats/read-rows.ts'
import type { TaskInput } from '../task-batches.ts'
import { KeySet } from './key-set.ts'
import { fieldsOf } from './row-to-input.ts'

/** A row that is no task, and why. */
export interface InvalidLine {
  /** `line 3`; `b.csv line 3`, if there are several files. */
  place: string
  reason: string
}

export interface InputSummary {
  /** Rows that are tasks. */
  tasks: number
  invalid: number
  /** Some of the invalid ones have the id of another. */
  hasTwins: boolean
  /** The first few of the invalid ones. */
  examples: InvalidLine[]
}

/** What a run reads, and how a row of it becomes a task's input, or throws what is wrong with it. */
export interface Input {
  readonly files: readonly InputFile[]
  readonly toInput: (row: unknown) => unknown
  /** The field of a row by which it is known. Default: the field `id` of its input. */
  readonly keyField?: string | undefined
}

export interface CheckOptions {
  /** Count rows that are no tasks instead of throwing at the first. */
  skipInvalid: boolean
  /** A field that at least one row must have. */
  expect?: string | undefined
  signal?: AbortSignal | undefined
}

/** A task, with the row that it comes from. */
export interface RowTask extends TaskInput {
  /** As {@link InvalidLine.place}. */
  readonly place: string
  /** It is known by its number, having no id. */
  readonly isNumbered: boolean
  readonly row: unknown
}

const EXAMPLES = 3
const KEY_MAX = 200

/** Reads a whole input and says what is in it, so that nothing of a malformed one is ever submitted. */
export async function checkInput(input: Input, options: CheckOptions): Promise<InputSummary> {
  const { skipInvalid, expect, signal } = options
  const twins = createTwinFinder(input)
  const summary: InputSummary = { tasks: 0, invalid: 0, hasTwins: false, examples: [] }
  let expected = expect === undefined

  for await (const found of tasksOrReasons(input)) {
    signal?.throwIfAborted()
    const twin = 'key' in found ? await twins.of(found, summary.examples.length < EXAMPLES) : undefined
    summary.hasTwins ||= twin !== undefined
    const invalid = twin === undefined ? found : { ...found, reason: `has the same id as ${twin}` }
    if ('reason' in invalid) {
      const { place, reason } = invalid
      if (!skipInvalid)
        throw new InputError(`${nameOf(input, found)} ${reason} (--skip-invalid leaves such lines out)`)
      summary.invalid++
      if (summary.examples.length < EXAMPLES) summary.examples.push({ place, reason })
    } else if ('key' in found) {
      summary.tasks++
      expected ||= expectedValue(found.input, expect) !== undefined
    }
  }
  const names = input.files.map(({ name }) => name).join(', ')
  if (summary.tasks === 0) throw new InputError(`${names} has no ${unitOf(input)} that is a task`)
  if (!expected) throw new InputError(`no ${unitOf(input)} of ${names} has a field ${expect}`)
  return summary
}

const unitOf = ({ files }: Input) => (files[0]?.kind.format === 'parquet' ? 'row' : 'line')

/** Where a row is, with the name of its file in any case. */
function nameOf({ files }: Input, { place }: { place: string }): string {
  return files.length === 1 ? `${files[0]?.name}: ${place}` : place
}

/** The tasks of a checked input, in order. Rows that are none are left out, and those with the id of an earlier one. */
export async function* readTasks(input: Input, hasTwins = false): AsyncGenerator<RowTask, void, undefined> {
  const keys = hasTwins ? new KeySet() : undefined
  for await (const found of tasksOrReasons(input))
    if ('key' in found && (keys?.add(found.key) ?? true)) yield found
}

/** What a row says its result should be. */
export function expectedValue(input: unknown, field: string | undefined): unknown {
  if (field === undefined || typeof input !== 'object' || input === null) return undefined
  return Object.hasOwn(input, field) ? (input as Record<string, unknown>)[field] : undefined
}

/** Finds rows with the id of an earlier one. */
function createTwinFinder(input: Input) {
  const keys = new KeySet()
  let hasIds = false

  /** The tasks before one. */
  async function* before({ place }: RowTask): AsyncGenerator<RowTask> {
    for await (const found of tasksOrReasons(input)) {
      if (found.place === place) return
      if ('key' in found) yield found
    }
  }
  /** Where the key was before: what only looks like it is sorted out by reading the input again. */
  async function firstOf(task: RowTask): Promise<string | undefined> {
    for await (const { key, place } of before(task)) if (key === task.key) return place
    return undefined
  }

  return {
    /** @param exactly say which row it is, rather than only that there is one, in all likelihood */
    async of(task: RowTask, exactly: boolean): Promise<string | undefined> {
      // As long as no row has an id, numbers tell them apart, and need not be kept.
      if (!hasIds && task.isNumbered) return undefined
      if (!hasIds) for await (const { key } of before(task)) keys.add(key)
      hasIds = true
      if (keys.add(task.key)) return undefined
      return exactly ? await firstOf(task) : 'an earlier one'
    },
  }
}

type Found = RowTask | InvalidLine

async function* tasksOrReasons(input: Input): AsyncGenerator<Found> {
  const several = input.files.length > 1
  for (const file of input.files) {
    for await (const row of readRows(file)) {
      const place = several ? `${file.name} ${row.place}` : row.place
      if ('reason' in row) yield { place, reason: row.reason }
      else yield toTask(input, row, place, several ? `${file.name}:${row.number}` : String(row.number))
    }
  }
}

function toTask({ toInput, keyField }: Input, { value }: Row, place: string, number: string): Found {
  try {
    const input = toInput(value)
    const fields = typeof input === 'string' ? undefined : fieldsOf(input)
    if (typeof input !== 'string' && !fields) throw new Error('must be a JSON object or a JSON string')
    const [keyed, name] = keyField === undefined ? [fields, 'id'] : [fieldsOf(value), keyField]
    if (!keyed || !Object.hasOwn(keyed, name))
      return { key: number, isNumbered: true, place, row: value, input }
    const id = keyed[name]
    const text = typeof id === 'bigint' ? String(id) : numberText(id)
    const numeric = typeof id === 'number' || text !== undefined
    const key = toKey(numeric ? numberKey(text ?? String(id)) : id, name)
    return { key, numeric, isNumbered: false, place, row: value, input }
  } catch (error) {
    return { place, reason: (error as Error).message }
  }
}

/** One text for all ways to write a number, as far as JavaScript's own numbers go. */
function numberKey(text: string): string {
  const written = String(Number(text))
  return isSameNumber(text, written) ? written : text
}

function toKey(id: unknown, field: string): string {
  const what = `${field === 'id' ? 'an' : 'a'} ${field}`
  if (typeof id !== 'string') throw new Error(`has ${what} that is neither a string nor a number`)
  if (id.length === 0 || id.length > KEY_MAX)
    throw new Error(`has ${what} that is empty or longer than ${KEY_MAX} characters`)
  if (!id.isWellFormed())
    throw new Error(`has ${what} that is not Unicode: half of a surrogate pair is in it`)
  return id
}
