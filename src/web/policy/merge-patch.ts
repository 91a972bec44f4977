/*
 * JSON Merge Patch (RFC 7396): what is to be changed in one JSON object to get another. An object is patched key by key,
 * everything else, arrays included, is replaced as a whole; null removes a key. So the values themselves hold no null.
 */

import type { JsonValue } from '../../protocol/primitives.ts'

export type JsonObject = { [key: string]: JsonValue }

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What makes `after` of `before`; undefined if they are the same. */
export function diff(before: JsonObject, after: JsonObject): JsonObject | undefined {
  const patch = bare()
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) patch[key] = null
  for (const [key, value] of Object.entries(after)) {
    const old = Object.hasOwn(before, key) ? before[key] : undefined
    if (isObject(old) && isObject(value)) {
      const inner = diff(old, value)
      if (inner) patch[key] = inner
    } else if (!isSame(old, value)) patch[key] = value
  }
  return Object.keys(patch).length > 0 ? patch : undefined
}

/** The object that the patch makes of another one, which stays as it is; parts that are not patched are shared. */
export function patched(target: JsonValue | undefined, patch: JsonObject): JsonObject {
  const result = Object.assign(bare(), isObject(target) ? target : {})
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = isObject(value) ? patched(result[key], value) : value
  }
  return result
}

/** Keys such as `__proto__` mean nothing to it. */
const bare = () => Object.create(null) as JsonObject

function isSame(a: JsonValue | undefined, b: JsonValue): boolean {
  if (a === b) return true
  if (!Array.isArray(a) || !Array.isArray(b)) {
    if (!isObject(a) || !isObject(b)) return false
    const keys = Object.keys(a)
    return (
      keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && isSame(a[key], b[key]!))
    )
  }
  return a.length === b.length && a.every((item, i) => isSame(item, b[i]!))
}
