import type { z } from 'zod'
import type { Random } from '../support/random.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** JSON text of values that fit nowhere, or hardly anywhere. */
const STRANGE = [
  'null',
  'true',
  '-1',
  '0.5',
  '-0',
  '1e308',
  '1e999',
  '9007199254740993',
  '123456789012345678901234567890',
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '"../../etc/passwd"',
  '"__proto__"',
  `"${'x'.repeat(70_000)}"`,
  '[]',
  '{}',
  '[[[[]]]]',
  '{"__proto__":{"status":"done"}}',
  '{"constructor":{"prototype":{"x":1}}}',
  '{"toString":1,"valueOf":2,"length":3}',
  `[${Array.from({ length: 20_001 }, () => '0').join(',')}]`,
  `${'['.repeat(400)}${']'.repeat(400)}`,
]

/**
 * JSON text like `valid`, but with something in it that the schema refuses.
 */
export function mutated(valid: Json, schema: z.ZodType, random: Random): string {
  for (;;) {
    const text = mutateOnce(JSON.stringify(valid), random)
    if (!schema.safeParse(JSON.parse(text)).success) return text
  }
}

/** One place of the value becomes something strange, or goes away, or moves. */
function mutateOnce(text: string, random: Random): string {
  const value = JSON.parse(text) as Json
  const places = [...placesOf(value)]
  const place = random.pick(places)
  const marker = '\u0001'
  if (place === undefined || random.chance(0.1)) return random.pick(STRANGE)
  const { parent, key } = place
  if (random.chance(0.15) && !Array.isArray(parent)) {
    const { [key]: taken, ...rest } = parent
    // Its name is changed, so that it is missing; or it is where prototypes are looked for.
    const name = random.pick(['__proto__', 'constructor', `${key} `, key.toUpperCase()])
    return JSON.stringify({ [marker]: taken!, ...rest }).replace('"\\u0001"', JSON.stringify(name))
  }
  parent[key] = marker
  return JSON.stringify(value).replace('"\\u0001"', () => random.pick(STRANGE))
}

function* placesOf(value: Json): Generator<{ parent: Record<string, Json>; key: string }> {
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    yield { parent: value as Record<string, Json>, key }
    yield* placesOf(inner)
  }
}
