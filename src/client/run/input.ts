import { open } from 'node:fs/promises'
import { limits } from '../../protocol/common.ts'
import { isSameNumber, parseExactly, numberText } from '../../protocol/numbers.ts'
import type { TaskInput } from '../task-batches.ts'
import { InputError } from '../errors.ts'
import { foreignFormat } from './input-format.ts'
import { readFileLines, type Line } from '../../common/lines.ts'

/** A line that is no task, and why. */
export interface InvalidLine {
  line: number
  reason: string
}

export interface InputSummary {
  /** Lines that are tasks. */
  tasks: number
  invalid: number
  /** The first few of the invalid ones. */
  examples: InvalidLine[]
}

export interface CheckOptions {
  /** Count lines that are no tasks instead of throwing at the first. */
  skipInvalid: boolean
  /** A field that at least one line must have. */
  expect?: string | undefined
  signal?: AbortSignal | undefined
}

const EXAMPLES = 3
/** Bytes at the beginning by which a file is recognised. */
const HEAD = 4096
const KEY_MAX = 200

/** Reads a whole input and says what is in it, so that nothing of a malformed one is ever submitted. */
export async function checkInput(path: string, options: CheckOptions): Promise<InputSummary> {
  const { skipInvalid, expect, signal } = options
  const lineOfKey = new Map<string, number>()
  const summary: InputSummary = { tasks: 0, invalid: 0, examples: [] }
  let expected = expect === undefined

  await refuseForeign(path)
  for await (const line of tasksOrReasons(path)) {
    signal?.throwIfAborted()
    const first = 'key' in line ? lineOfKey.get(line.key) : undefined
    const invalid = first === undefined ? line : { ...line, reason: `has the same id as line ${first}` }
    if ('reason' in invalid) {
      if (!skipInvalid) {
        throw new InputError(
          `${path}: line ${line.line} ${invalid.reason} (--skip-invalid leaves such lines out)`,
        )
      }
      summary.invalid++
      if (summary.examples.length < EXAMPLES)
        summary.examples.push({ line: line.line, reason: invalid.reason })
    } else if ('key' in line) {
      lineOfKey.set(line.key, line.line)
      summary.tasks++
      expected ||= expectedValue(line.input, expect) !== undefined
    }
  }
  if (summary.tasks === 0) throw new InputError(`${path} has no line that is a task`)
  if (!expected) throw new InputError(`no line of ${path} has a field ${expect}`)
  return summary
}

/** Says what a file is that has no lines of JSON, rather than what is wrong with its first line. */
async function refuseForeign(path: string): Promise<void> {
  await using file = await open(path)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD), 0, HEAD, 0)
  const foreign = foreignFormat(buffer.subarray(0, bytesRead))
  if (foreign) {
    throw new InputError(
      `${path} is ${foreign.what}, and not a JSON object or string a line: ${foreign.advice.replace('FILE', path)}`,
    )
  }
}

/** The tasks of a checked input, in order. Invalid lines are left out. */
export async function* readTasks(path: string): AsyncGenerator<TaskInput, void, undefined> {
  for await (const line of tasksOrReasons(path)) if ('key' in line) yield line
}

/** What a line says its result should be. */
export function expectedValue(input: unknown, field: string | undefined): unknown {
  if (field === undefined || typeof input !== 'object' || input === null) return undefined
  return Object.hasOwn(input, field) ? (input as Record<string, unknown>)[field] : undefined
}

async function* tasksOrReasons(path: string): AsyncGenerator<(TaskInput & { line: number }) | InvalidLine> {
  for await (const line of readFileLines(path, limits.value)) {
    try {
      const task = toTask(line)
      if (task) yield { ...task, line: line.number }
    } catch (error) {
      yield { line: line.number, reason: (error as Error).message }
    }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A line as a task; undefined for a blank line. Throws what is wrong with it. */
function toTask({ number, bytes }: Line): TaskInput | undefined {
  if (bytes.length > limits.value) throw new Error(`is longer than ${limits.value} bytes`)
  const text = decode(bytes)
  if (text.trim() === '') return undefined
  const input = parse(text)
  if (typeof input === 'string') return { key: String(number), input }
  if (
    typeof input !== 'object' ||
    input === null ||
    Array.isArray(input) ||
    numberText(input) !== undefined
  ) {
    throw new Error('must be a JSON object or a JSON string')
  }
  if (!('id' in input)) return { key: String(number), input }
  const { id } = input
  const numeric = typeof id === 'number' || numberText(id) !== undefined
  return { key: toKey(numeric ? numberKey(numberText(id) ?? String(id)) : id), numeric, input }
}

/** One text for all ways to write a number, as far as JavaScript's own numbers go. */
function numberKey(text: string): string {
  const written = String(Number(text))
  return isSameNumber(text, written) ? written : text
}

function decode(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new Error('is not UTF-8')
  }
}

function parse(text: string): unknown {
  try {
    return parseExactly(text)
  } catch (error) {
    // The parser counts lines of its own, all of them 1.
    const reason = (error as Error).message.replace(/ \(line 1 column \d+\)$/, '')
    throw new Error(`is not JSON: ${reason}`, { cause: error })
  }
}

function toKey(id: unknown): string {
  if (typeof id !== 'string') throw new Error('has an id that is neither a string nor a number')
  if (id.length === 0 || id.length > KEY_MAX)
    throw new Error(`has an id that is empty or longer than ${KEY_MAX} characters`)
  return id
}
