/*
 * JSON whose numbers stay what they are. JavaScript reads 1234567890123456789 as …800, 1.50 as 1.5 and 1e400 as infinity; code that
 * only passes values on must not. There are two forms of such numbers: those that pass on keep their text (`JSON.rawJSON`, which
 * `JSON.stringify` writes as it was), and programs of users, which compute, get bigints for integers beyond 2^53, and otherwise the
 * nearest number.
 */

/** A number of JSON as its text, where JavaScript's own would be written differently. */
interface RawNumber {
  readonly rawJSON: string
}

interface ExactJson {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown
  rawJSON(text: string): RawNumber
  isRawJSON(value: unknown): value is RawNumber
}
// Not yet in the types of the language's library.
const exact = JSON as unknown as ExactJson

/** Finds out quickly that a text has no number that would change. May be wrong the other way round. */
const SUSPECT = /(?:^|[\s:,[])(?:-0(?![\d.])|-?(?:\d[\d.]{15}|0\.0{6}|\d+(?:\.\d*0(?!\d)|(?:\.\d+)?[eE])))/

/**
 * Parses JSON; a number that JavaScript would write differently keeps its text.
 * @throws {SyntaxError} if it is not JSON
 */
export function parseExactly(text: string): unknown {
  if (!SUSPECT.test(text)) return JSON.parse(text) as unknown
  return exact.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && source !== String(value) ? exact.rawJSON(source!) : value,
  )
}

/** A value as JSON text; bigints are numbers in it. Undefined for what JSON has no word for. */
export function stringifyExactly(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    // It may be for a bigint. What is wrong otherwise is so again.
    return JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'bigint' ? exact.rawJSON(String(inner)) : inner,
    )
  }
}

/** The text of a number that kept it. */
export function numberText(value: unknown): string | undefined {
  return exact.isRawJSON(value) ? value.rawJSON : undefined
}

/** A number that is written as this text. */
export const numberOf = (text: string): unknown => exact.rawJSON(text)

const INTEGER = /^-?\d+$/

/**
 * The same value for a program that computes: integers beyond 2^53 are bigints, other numbers the nearest ones there are. One that
 * is beyond all of those, such as 1e400, stays its text.
 */
export function toNative(value: unknown): unknown {
  return replaceNumbers(value, (text) => {
    const number = Number(text)
    if (INTEGER.test(text) && !Number.isSafeInteger(number)) return BigInt(text)
    return Number.isFinite(number) ? number : numberOf(text)
  })
}

/** The same value for a template that only shows it: integers beyond 2^53 are texts. */
export function toShown(value: unknown): unknown {
  return replaceNumbers(value, (text) => {
    const number = Number(text)
    return Number.isFinite(number) && (!INTEGER.test(text) || Number.isSafeInteger(number)) ? number : text
  })
}

/** What has no number to replace is not copied. */
function replaceNumbers(value: unknown, replace: (text: string) => unknown): unknown {
  if (typeof value === 'number') {
    const isLarge = Number.isInteger(value) && !Number.isSafeInteger(value)
    return isLarge ? replace(String(value)) : value
  }
  if (typeof value !== 'object' || value === null) return value
  if (exact.isRawJSON(value)) return replace(value.rawJSON)
  if (Array.isArray(value)) {
    const items = value.map((item) => replaceNumbers(item, replace))
    return items.some((item, i) => item !== value[i]) ? items : value
  }
  const entries = Object.entries(value)
  const replaced = entries.map(([key, item]) => [key, replaceNumbers(item, replace)] as const)
  return replaced.some(([, item], i) => item !== entries[i]![1]) ? Object.fromEntries(replaced) : value
}

/** Whether two texts of JSON numbers stand for the same number, whatever their digits. */
export function isSameNumber(a: string, b: string): boolean {
  return canonical(a) === canonical(b)
}

/** A number's sign, its digits without zeros around them, and the place of the last. */
function canonical(text: string): string {
  const [, sign = '', whole = '', fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  if (significant === '') return '0'
  const place = BigInt(power) - BigInt(fraction.length) + BigInt(digits.length - significant.length)
  return `${sign}${significant}e${place}`
}

/** Whether a value is as good without the texts of its numbers. */
export function losesNothing(value: unknown): boolean {
  let same = true
  replaceNumbers(value, (text) => {
    const written = String(Number(text))
    same &&= isSameNumber(text, written)
    return text
  })
  return same
}
