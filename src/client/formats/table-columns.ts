/* What columns a table has, found out row by row, and of what type each is. Pure. */
import { numberText } from '../../protocol/json/exact-numbers.ts'

export type Fields = Readonly<Record<string, unknown>>

/** A row to be written: the columns it came with, and what its result has. */
export interface OutRow {
  readonly own: Fields
  readonly result: Fields
}

/** Types of Parquet that columns are written as; `LIST` is a list of numbers. */
export type ColumnType =
  'BOOLEAN' | 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'STRING' | 'JSON' | 'TIMESTAMP' | 'LIST'

/** Deepest level of objects whose fields become columns of their own. */
const DEPTH = 3

/** Whether a value is a JSON object: numbers that keep their texts are none. */
function isObject(value: unknown): value is Fields {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && numberText(value) === undefined
  )
}

/** An object without objects in it: `{"tokens": {"prompt": 3}}` has the column `tokens.prompt`. Lists stay what they are. */
export function flatten(fields: Fields, prefix = '', depth = DEPTH): Record<string, unknown> {
  const flat = Object.entries(fields).flatMap(([name, value]) =>
    isObject(value) && depth > 0 && Object.keys(value).length > 0
      ? Object.entries(flatten(value, `${prefix}${name}.`, depth - 1))
      : [[`${prefix}${name}`, value] as const],
  )
  return Object.fromEntries(flat)
}

/** What values a column has had so far. */
interface Seen {
  integers: boolean
  numbers: boolean
  booleans: boolean
  texts: boolean
  lists: boolean
  others: boolean
}

/** The columns of a table: those its rows came with first, then those of the results, each set in the order in which they were seen. */
export class Columns {
  readonly #own = new Map<string, Seen>()
  readonly #result = new Map<string, Seen>()
  readonly #stated: ReadonlyMap<string, string>

  /** @param stated types that the rows' file states for its columns */
  constructor(stated: ReadonlyMap<string, string> = new Map()) {
    this.#stated = stated
  }

  /** Takes note of a row. Its result must be flat. */
  note({ own, result }: OutRow): void {
    for (const [fields, columns] of [
      [own, this.#own],
      [result, this.#result],
    ] as const) {
      for (const [name, value] of Object.entries(fields)) {
        let seen = columns.get(name)
        if (!seen) columns.set(name, (seen = nothingSeen()))
        look(seen, value)
      }
    }
  }

  /** Names of all columns. A result's column with the name of one that the rows came with is called `result_NAME`. */
  names(): string[] {
    return this.#list().map(({ name }) => name)
  }

  types(): Map<string, ColumnType> {
    return new Map(
      this.#list().map(({ name, of, key, seen }) => {
        const stated = of === 'own' ? (this.#stated.get(key) as ColumnType | undefined) : undefined
        return [name, stated ?? typeOf(seen)]
      }),
    )
  }

  /** A row's values in the order of {@link names}; undefined for those that it does not have. */
  values({ own, result }: OutRow): unknown[] {
    return this.#list().map(({ of, key }) => {
      const fields = of === 'own' ? own : result
      return Object.hasOwn(fields, key) ? fields[key] : undefined
    })
  }

  #columns: { name: string; of: 'own' | 'result'; key: string; seen: Seen }[] = []

  #list() {
    if (this.#columns.length === this.#own.size + this.#result.size) return this.#columns
    const own = [...this.#own].map(([key, seen]) => ({ name: key, of: 'own' as const, key, seen }))
    const taken = new Set(this.#own.keys())
    const results = [...this.#result].map(([key, seen]) => {
      let name = key
      while (taken.has(name)) name = `result_${name}`
      taken.add(name)
      return { name, of: 'result' as const, key, seen }
    })
    return (this.#columns = [...own, ...results])
  }
}

const nothingSeen = (): Seen => ({
  integers: false,
  numbers: false,
  booleans: false,
  texts: false,
  lists: false,
  others: false,
})

function look(seen: Seen, value: unknown): void {
  if (value === null || value === undefined) return
  const text = typeof value === 'number' ? String(value) : numberText(value)
  if (text !== undefined) {
    if (isLong(text)) seen.integers = true
    else if (fits(text)) seen.numbers = true
    else seen.others = true
  } else if (typeof value === 'bigint') seen[isLong(String(value)) ? 'integers' : 'others'] = true
  else if (typeof value === 'boolean') seen.booleans = true
  else if (typeof value === 'string') seen.texts = true
  else if (Array.isArray(value) && value.every((item) => typeof item === 'number')) seen.lists = true
  else seen.others = true
}

/** Whether a number is an integer of 64 bits. */
function isLong(text: string): boolean {
  return /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text)
}

/** Whether a number is one of 64 bits with a fraction; a long integer is not. */
const fits = (text: string) => !/^-?\d{16,}$/.test(text) && Number.isFinite(Number(text))

function typeOf({ integers, numbers, booleans, texts, lists, others }: Seen): ColumnType {
  const kinds = [integers || numbers, booleans, texts, lists, others].filter(Boolean).length
  if (kinds > 1 || others) return texts && !lists && !others ? 'STRING' : 'JSON'
  if (numbers) return 'DOUBLE'
  if (integers) return 'INT64'
  if (booleans) return 'BOOLEAN'
  return lists ? 'LIST' : 'STRING'
}

/** A value as the text of a table's cell: nothing for null, JSON for what is no scalar. */
export function cellText(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'bigint') return String(value)
  return numberText(value) ?? JSON.stringify(value)
}
