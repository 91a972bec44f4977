import { constants } from 'node:fs'
import { createHash, type Hash } from 'node:crypto'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { z } from 'zod'
import type { ResultRow } from '../../protocol/client.ts'
import { limits, parseJson } from '../../protocol/primitives.ts'
import { numberOf, numberText } from '../../protocol/json/exact-numbers.ts'
import { GleanerError, InputError } from '../errors.ts'
import type { Job } from '../job.ts'
import { readFileLines } from '../../common/read-lines.ts'

/**
 * A result as one line of the output: `id` and `status`, then the fields of the value, or the value itself as `value` if
 * it is no object or has a field of one of those names; for a task that failed, what went wrong as `error`, where, and
 * the end of what it printed as `log`.
 */
export function toLine(row: ResultRow): string {
  return `${JSON.stringify(toFields(row))}\n`
}

/** The same as fields. */
export function toFields({ key, numeric, status, value, error, worker, node, log }: ResultRow): object {
  const head = { id: numeric ? numberOf(key) : key, status }
  const failure = error && {
    error: `${error.name}: ${error.message}`,
    ...(error.stack && { stack: error.stack }),
    worker,
    node,
    log,
  }
  return { ...head, ...fields(value), ...failure }
}

const RESERVED = ['id', 'status', 'error']

function fields(value: ResultRow['value']): object {
  if (value === undefined) return {}
  const spreads =
    typeof value === 'object' &&
    value !== null &&
    numberText(value) === undefined &&
    !Array.isArray(value) &&
    !RESERVED.some((name) => name in value)
  return spreads ? value : { value }
}

/** How far an output has come: a position in the file and the same one in the job's results. */
export interface Position {
  bytes: number
  cursor: number
  /** What the cursor belongs to, as the manager calls it. */
  epoch: string
  done: number
  failed: number
}

export const START: Position = { bytes: 0, cursor: 0, epoch: '', done: 0, failed: 0 }

/** The position behind these rows. */
function advance(position: Position, rows: ResultRow[], epoch: string, bytes: number): Position {
  const done = rows.filter(({ status }) => status === 'done').length
  return {
    bytes: position.bytes + bytes,
    cursor: rows.at(-1)?.cursor ?? position.cursor,
    epoch,
    done: position.done + done,
    failed: position.failed + rows.length - done,
  }
}

/** An existing output's size in bytes, 0 if there is none. */
export async function outputSize(path: string): Promise<number> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found && !found.isFile()) throw new InputError(`${path} is not a regular file`)
  return found?.size ?? 0
}

/** What an earlier run left in its output. */
export interface Found {
  position: Position
  /** It has failures of tasks that were run again since: it must be written anew. */
  outdated: boolean
}

export interface FindOptions {
  /** Failures may be in it that were taken back since. */
  wasRetried?: boolean
  /** It was the output of this job: what follows the first line that is wrong does not count. */
  damaged?: boolean
  signal?: AbortSignal | undefined
}

/**
 * Finds where an earlier run stopped writing. An output is exactly the job's results in their order, and a line depends
 * on nothing but its result; so every line must be that of the next result, and what a killed run left of a line must be
 * how that line begins. Besides, there may be failures that were taken back when the job was retried. The file is not touched.
 *
 * @throws InputError if the file holds anything else
 */
export async function findPosition(
  path: string,
  job: Job | undefined,
  { wasRetried = false, damaged = false, signal }: FindOptions = {},
): Promise<Found> {
  if ((await outputSize(path)) === 0) return { position: START, outdated: false }
  const rows = job && presentResults(job, signal)
  const next = async () => (await rows?.next())?.value ?? undefined
  let row = await next()
  let position = START
  let outdated = false
  for await (const { number, bytes, ended } of readFileLines(path, limits.body)) {
    const line = row && Buffer.from(toLine(row.row))
    if (row && line?.subarray(0, ended ? -1 : bytes.length).equals(bytes)) {
      if (!ended) break
      position = advance(position, [row.row], row.epoch, line.length)
      row = await next()
    } else if (damaged) break
    else if (wasRetried && (!ended || isFailure(parseJson(bytes.toString())))) outdated = true
    else throw foreign(path, number)
  }
  return outdated ? { position: START, outdated } : { position, outdated }
}

/** Whether what a line holds tells of a task that failed. */
export const isFailure = (line: unknown) => Failure.safeParse(line).success

const Failure = z.object({
  id: z.union([z.string(), z.number()]),
  status: z.enum(['error', 'crash']),
  error: z.string(),
})

/** The results that are there already. */
async function* presentResults(job: Job, signal?: AbortSignal) {
  for await (const { results, epoch } of job.pages({ exact: true, limit: 5000, waitMs: 0, signal })) {
    if (results.length === 0) return
    for (const row of results) yield { row, epoch }
  }
}

const foreign = (path: string, line: number) =>
  new InputError(
    `${path} is not the output of this job (line ${line}): choose another --out, or move the file away and it is ` +
      'written again without inferring anything twice; --restart overwrites it and begins anew',
  )

/** What was written is not in the output any more: the file was removed, shortened, changed or replaced. */
export class OutputLostError extends GleanerError {
  override name = 'OutputLostError'
  override readonly code = 'GLEANER_OUTPUT_LOST'
  /** Another file is in its place, or none. */
  readonly replaced: boolean

  constructor(path: string, replaced: boolean) {
    super(
      `${path} is being changed by something else: leave it alone while the run goes on, and give the command again`,
    )
    this.replaced = replaced
  }
}

export interface Output extends AsyncDisposable {
  /** What had been written, or counted, when it was opened. */
  readonly start: { done: number; failed: number }
  /** Whether {@link write} needs the values of results. */
  readonly takesValues: boolean
  /** Where the next result goes. */
  readonly position: Position
  /** @throws OutputLostError if what was written before is not there */
  write(rows: ResultRow[], epoch: string): Promise<void>
  /** Throws away what is in it. */
  clear(): Promise<void>
  /**
   * Resolves once everything written is safe on the disk, under the output's name.
   * @throws OutputLostError if it is not what was written
   */
  finish(): Promise<void>
}

/**
 * Opens an output to write on from a position. Writes go to fixed places: a line that a killed run left torn is
 * completed, and two runs of the same command that overlap write the same bytes to the same places.
 */
export async function openOutput(path: string, from: Position): Promise<Output> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o666)
  const { dev, ino } = await file.stat()
  let position = from
  let written = await hashOf(file, from.bytes)

  /** Whether the file still has its name and what was written. */
  async function check(): Promise<void> {
    const found = await stat(path).catch(() => undefined)
    const replaced = found?.dev !== dev || found.ino !== ino
    if (replaced || found.size < position.bytes) throw new OutputLostError(path, replaced)
  }

  return {
    start: from,
    takesValues: true,
    get position() {
      return position
    },
    async write(rows, epoch) {
      await check()
      const text = Buffer.from(rows.map(toLine).join(''))
      try {
        for (let done = 0; done < text.length;) {
          const { bytesWritten } = await file.write(text, done, text.length - done, position.bytes + done)
          done += bytesWritten
        }
      } catch (error) {
        // The system knows a file it writes to by number only.
        throw Object.assign(error as Error, { path })
      }
      written.update(text)
      position = advance(position, rows, epoch, text.length)
    },
    async clear() {
      await file.truncate(0)
      position = START
      written = createHash('sha256')
    },
    async finish() {
      await file.sync()
      await check()
      const found = await hashOf(file, position.bytes)
      if (!found.digest().equals(written.copy().digest())) throw new OutputLostError(path, false)
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
}

/** Counts the results of a job whose output is written when it has ended. @param start how its tasks have ended so far */
export function openTally(start: { done: number; failed: number }): Output {
  let position = START
  return {
    start,
    takesValues: false,
    get position() {
      return position
    },
    write(rows, epoch) {
      position = advance(position, rows, epoch, 0)
      return Promise.resolve()
    },
    clear() {
      position = START
      return Promise.resolve()
    },
    finish: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

const CHUNK = 1 << 20

/** Of the first `length` bytes of a file, or of as many as it has. */
async function hashOf(file: FileHandle, length: number): Promise<Hash> {
  const hash = createHash('sha256')
  const buffer = Buffer.alloc(Math.min(CHUNK, length))
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK, length - at), at)
    if (bytesRead === 0) break
    hash.update(buffer.subarray(0, bytesRead))
    at += bytesRead
  }
  return hash
}
