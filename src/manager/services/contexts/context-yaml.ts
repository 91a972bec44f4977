import { readFile } from 'node:fs/promises'
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { nearest } from '../../../common/nearest-name.ts'
import { ContextFile, LibrarySpec } from '../../../protocol/contexts/context.ts'
import { invalid } from '../../http/api-errors.ts'

/** What a context.yaml says. */
export interface DescribedContext {
  head: Pick<ContextFile, 'name' | 'bundles'>
  spec: LibrarySpec
}
type ContextFile = z.infer<typeof ContextFile>

/** A JSON Schema, as far as it is looked into. */
interface Shape {
  properties?: Record<string, Shape>
  additionalProperties?: Shape | boolean
  items?: Shape
  anyOf?: Shape[]
  oneOf?: Shape[]
  const?: unknown
}

const libraryShape = z.toJSONSchema(LibrarySpec, { io: 'input', unrepresentable: 'any' }) as Shape
const headKeys = Object.keys(ContextFile.shape)

/**
 * Reads a context.yaml.
 *
 * @throws {RequestError} 400 with the file, the line, the key that is wrong, and the valid one that comes nearest
 */
export async function readContextYaml(file: string): Promise<DescribedContext> {
  const text = await readFile(file, 'utf8').catch((error: Error) => {
    throw invalid(`${file} cannot be read: ${error.message}`)
  })
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, intAsBigInt: true })
  const [broken] = document.errors
  if (broken) throw invalid(`${file}:${lines.linePos(broken.pos[0]).line}: ${broken.message}`)
  const value = plainNumbers(toPlain(document, file), file)
  const refuse = (error: z.ZodError) =>
    invalid(describe(tellingOf(error), value, (path) => `${file}${lineOf(document, lines, path)}`))
  const head = ContextFile.safeParse(value)
  if (!head.success) throw refuse(head.error)
  const { name, bundles, ...rest } = head.data
  const spec = LibrarySpec.safeParse(rest)
  if (!spec.success) throw refuse(spec.error)
  return { head: { name, bundles }, spec: spec.data }
}

/** A misspelt key is also one that is missing: it is told of first. */
const tellingOf = ({ issues }: z.ZodError) =>
  issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!

function describe(issue: z.core.$ZodIssue, value: unknown, place: (path: PropertyKey[]) => string): string {
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  const path = unknown === undefined ? issue.path : [...issue.path, unknown]
  const key = path.join('.')
  if (unknown === undefined) return `${place(path)}: ${key ? `${key}: ` : ''}${issue.message}`
  const valid = keysAt(issue.path, value)
  const meant = nearest(unknown, valid)
  return `${place(path)}: unknown key ${key}; ${meant ? `did you mean ${meant}?` : `valid here: ${valid.join(', ')}`}`
}

/** Keys that are valid at a place of the file. */
function keysAt(path: PropertyKey[], value: unknown): string[] {
  const { library } = value as { library?: unknown }
  let shape = (libraryShape.oneOf ?? libraryShape.anyOf)?.find(
    ({ properties }) => properties?.library?.const === library,
  )
  for (const step of path) {
    const below = shape?.properties?.[String(step)] ?? shape?.additionalProperties ?? shape?.items
    shape = typeof below === 'object' ? below : undefined
  }
  const keys = Object.keys(shape?.properties ?? {})
  return path.length === 0 ? [...headKeys, ...keys] : keys
}

/** `:LINE` of the key that a path ends with, or of the last key on the way that is in the file. */
function lineOf(document: Document, lines: LineCounter, path: PropertyKey[]): string {
  for (let length = path.length; length > 0; length--) {
    const parent = document.getIn(path.slice(0, length - 1), true)
    const wanted = path[length - 1]
    const key = isMap(parent)
      ? parent.items.map(({ key }) => key).find((key) => isScalar(key) && String(key.value) === wanted)
      : document.getIn(path.slice(0, length), true)
    if (isNode(key) && key.range) return `:${lines.linePos(key.range[0]).line}`
  }
  return ''
}

function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw invalid(`${file}: ${(error as Error).message}`)
  }
}

/** Integers as JavaScript's numbers. @throws {RequestError} 400 for one that would become another */
function plainNumbers(value: unknown, file: string): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value)
    if (String(number) === String(value)) return number
    throw invalid(`${file}: ${value} is too large to be kept exactly as a number: put it in quotes`)
  }
  if (Array.isArray(value)) return value.map((item) => plainNumbers(item, file))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainNumbers(item, file)]))
}
