import type { JsonValue } from '../../../protocol/primitives.ts'
import { numberText } from '../../../protocol/json/exact-numbers.ts'
import { PLACEHOLDER } from '../../../protocol/contexts/placeholders.ts'

/** A placeholder has no value. */
export class TemplateError extends Error {
  override name = 'TemplateError'
}

/** What a path stands for; undefined if for nothing. */
export type LookUp = (path: string) => JsonValue | undefined

/** Finds a path in a JSON value: names in objects, positions in arrays. */
export function within(value: JsonValue): LookUp {
  return (path) => {
    let found: JsonValue | undefined = value
    for (const name of path.split('.')) {
      if (typeof found !== 'object' || found === null || numberText(found) !== undefined) return undefined
      if (!Object.hasOwn(found, name)) return undefined
      found = (found as Record<string, JsonValue>)[name]
    }
    return found
  }
}

/**
 * Fills in the placeholders in all texts of a JSON value. One that is all of a text becomes the value itself, whatever its
 * type.
 *
 * @param what names where values come from, for the error
 * @throws {TemplateError} that names a path without a value, or one whose value cannot be part of a text
 */
export function render(template: JsonValue, lookUp: LookUp, what: string): JsonValue {
  if (typeof template === 'string') {
    const [whole] = template.matchAll(PLACEHOLDER)
    return whole?.[0] === template ? find(whole[1]!, lookUp, what) : renderText(template, lookUp, what)
  }
  if (Array.isArray(template)) return template.map((item) => render(item, lookUp, what))
  if (typeof template !== 'object' || template === null) return template
  return Object.fromEntries(
    Object.entries(template).map(([key, item]) => [key, render(item, lookUp, what)] as const),
  )
}

/** The same for a text, which stays one; `encode` makes values fit for it. */
export function renderText(
  template: string,
  lookUp: LookUp,
  what: string,
  encode: (text: string) => string = (text) => text,
): string {
  return template.replaceAll(PLACEHOLDER, (_, path: string) => {
    const value = find(path, lookUp, what)
    const number = numberText(value)
    if (number !== undefined) return encode(number)
    if (typeof value !== 'object') return encode(String(value))
    throw new TemplateError(
      `"${path}" of ${what} is ${value === null ? 'null' : 'no text'}: it cannot be part of one`,
    )
  })
}

function find(path: string, lookUp: LookUp, what: string): JsonValue {
  const value = lookUp(path)
  if (value === undefined) throw new TemplateError(`${what} has no "${path}"`)
  return value
}
