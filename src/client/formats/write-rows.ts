import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'csv-stringify/sync'
import { stringifyExactly } from '../../protocol/json/exact-numbers.ts'
import { cellText, Columns, flatten, type OutRow } from './table-columns.ts'
import type { FileKind, Format } from './format-names.ts'
import { openSpill } from './disk-spill.ts'
import { openSink, STDOUT, type ByteSink } from './write-bytes.ts'

/** Writes rows to a file, in bounded memory. */
export interface RowWriter extends AsyncDisposable {
  add(row: OutRow): Promise<void>
  /** Resolves once the file is there, complete. Without it, nothing has changed. */
  finish(): Promise<void>
}

/** Lines of a table that are written at once. */
const LINES = 500
/** Bytes that are written at once, about. */
const CHUNK = 1 << 18

/**
 * Opens a file for rows. Those of tables wait on the same disk until all columns are known.
 *
 * @param stated types that the rows' own file states for its columns
 */
export async function openRowWriter(
  path: string,
  { format, packing }: FileKind,
  stated?: ReadonlyMap<string, string>,
): Promise<RowWriter> {
  const sink = await openSink(path, packing)
  const toText = TEXTS[format]
  if (toText) return textWriter(sink, toText)
  return await tableWriter(
    sink,
    path === STDOUT ? join(tmpdir(), 'stdout') : path,
    format,
    new Columns(stated),
  )
}

const TEXTS: Partial<Record<Format, (row: OutRow) => string>> = {
  jsonl: ({ own, result }) => `${stringifyExactly(merge(own, result))}\n`,
  openai: ({ result }) => `${stringifyExactly(result)}\n`,
  text: ({ result }) => `${oneLine(cellText(answerOf(result)))}\n`,
}

/** Both in one; a result's field of the same name as one of the row is called `result_NAME`. */
function merge(own: OutRow['own'], result: OutRow['result']): object {
  const merged = new Map<string, unknown>(Object.entries(own))
  for (const [key, value] of Object.entries(result)) {
    let name = key
    while (merged.has(name)) name = `result_${name}`
    merged.set(name, value)
  }
  return Object.fromEntries(merged)
}

/** What of a result is its answer in one text. */
function answerOf(result: OutRow['result']): unknown {
  const found = ['text', 'label', 'value', 'embedding', 'error'].find((name) => Object.hasOwn(result, name))
  return found === undefined ? result : result[found]
}

/** A text on one line, from which it can be made again. */
const oneLine = (text: string) =>
  text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')

function textWriter(sink: ByteSink, toText: (row: OutRow) => string): RowWriter {
  const batch = batches(sink)
  return {
    add: (row) => batch.add(toText(row)),
    async finish() {
      await batch.flush()
      await sink.finish()
    },
    [Symbol.asyncDispose]: () => sink[Symbol.asyncDispose](),
  }
}

function batches(sink: ByteSink) {
  let texts: string[] = []
  let length = 0
  async function flush() {
    if (length > 0) await sink.write(texts.join(''))
    texts = []
    length = 0
  }
  return {
    async add(text: string) {
      texts.push(text)
      length += text.length
      if (length >= CHUNK) await flush()
    },
    flush,
  }
}

async function tableWriter(
  sink: ByteSink,
  path: string,
  format: Format,
  columns: Columns,
): Promise<RowWriter> {
  const spill = await openSpill(path)
  return {
    async add({ own, result }) {
      const row = { own, result: flatten(result) }
      columns.note(row)
      await spill.add(row)
    },
    async finish() {
      if (format === 'parquet') {
        // Large code that most runs do without.
        const { writeParquet } = await import('./write-parquet.ts')
        await writeParquet(sink, spill.rows(), columns)
      } else await writeCsv(sink, spill.rows(), columns, format === 'tsv' ? '\t' : ',')
      await sink.finish()
    },
    async [Symbol.asyncDispose]() {
      await spill[Symbol.asyncDispose]()
      await sink[Symbol.asyncDispose]()
    },
  }
}

async function writeCsv(
  sink: ByteSink,
  rows: AsyncIterable<{ row: OutRow }>,
  columns: Columns,
  delimiter: string,
): Promise<void> {
  const names = columns.names()
  // Without any row, there is nothing to say of columns.
  let lines = names.length > 0 ? [names] : []
  const flush = async () => {
    if (lines.length > 0) await sink.write(stringify(lines, { delimiter }))
    lines = []
  }
  for await (const { row } of rows) {
    lines.push(columns.values(row).map(cellText))
    if (lines.length >= LINES) await flush()
  }
  await flush()
}
