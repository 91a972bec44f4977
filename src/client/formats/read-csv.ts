import { pipeline, Readable } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import { limits } from '../../protocol/primitives.ts'
import { InputError } from '../errors.ts'
import { checkUtf8 } from './read-bytes.ts'
import type { BadRow, Row } from './row.ts'

interface CsvRecord {
  record: string[]
  info: { lines: number }
}

/**
 * The rows of a table in text, as RFC 4180 has it: the first line names the columns, fields may be quoted and then hold anything.
 * All values are texts. A row with too many or too few fields is a bad one.
 *
 * @throws {InputError} for a file that is no such table
 */
export async function* readCsv(
  bytes: AsyncIterable<Buffer>,
  name: string,
  delimiter: ',' | '\t',
): AsyncGenerator<Row | BadRow> {
  const parser = parse({
    delimiter,
    bom: true,
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: limits.value,
  })
  pipeline(Readable.from(checkUtf8(bytes, name), { objectMode: false }), parser, () => {})
  let columns: string[] | undefined
  let number = 0
  let line = 1
  try {
    for await (const { record, info } of parser as AsyncIterable<CsvRecord>) {
      const place = `line ${line}`
      line = info.lines + 1
      if (!columns) columns = checkHeader(record, name)
      else if (record.length === columns.length)
        yield { number: ++number, place, value: toFields(columns, record) }
      else {
        number++
        yield { place, reason: `has ${record.length} fields, and the header has ${columns.length}` }
      }
    }
  } catch (error) {
    throw error instanceof CsvError ? explain(error, name, line) : error
  } finally {
    parser.destroy()
  }
}

function checkHeader(columns: string[], name: string): string[] {
  const twice = columns.find((column, i) => columns.indexOf(column) !== i)
  if (twice !== undefined)
    throw new InputError(`${name}: line 1 names two columns "${twice}": rename one of them`)
  const [only, ...others] = columns
  if (others.length === 0 && /[;\t|]/.test(only!))
    throw new InputError(
      `${name}: line 1 has one column, "${only}": separate columns by commas in .csv files, by tabs in .tsv files`,
    )
  return columns
}

function toFields(columns: readonly string[], record: readonly string[]): Record<string, string> {
  return Object.fromEntries(columns.map((column, i) => [column, record[i]!]))
}

function explain(error: CsvError, name: string, line: number): InputError {
  const reasons: Partial<Record<string, string>> = {
    CSV_MAX_RECORD_SIZE: `is longer than ${limits.value} bytes; perhaps a quote is not closed`,
    CSV_QUOTE_NOT_CLOSED: 'has a quote that is not closed',
    CSV_INVALID_CLOSING_QUOTE: 'has something behind a closing quote: a quote within quotes is written twice',
    INVALID_OPENING_QUOTE:
      'has a quote within a field that is not quoted: quote the field, and write the quote twice',
  }
  return new InputError(`${name}: line ${line} ${reasons[error.code] ?? `is not CSV: ${error.message}`}`)
}
