import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { z } from 'zod'
import { explain } from '../../../../protocol/primitives.ts'
import { ContextFilesError } from '../../../../common/task-errors.ts'

/** Largest text file of a model that is read: tokenizers of large vocabularies take some tens of megabytes. Bytes. */
const TEXT_MAX = 256 << 20

/**
 * A file of a model's folder as text; undefined if there is none.
 *
 * @throws {ContextFilesError} when the file cannot be read or is out of all proportion
 */
export async function readText(folder: string, name: string): Promise<string | undefined> {
  const path = join(folder, name)
  try {
    const { size } = await stat(path)
    if (size > TEXT_MAX) throw new ContextFilesError(`${path} has ${size} bytes, which no such file needs`)
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof ContextFilesError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ContextFilesError(`${path} cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * The same for a file of JSON, checked against a schema.
 *
 * @throws {ContextFilesError} also when it is not JSON, or not what such a file holds
 */
export async function readJson<T>(
  folder: string,
  name: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  const text = await readText(folder, name)
  return text === undefined ? undefined : parseJson(text, join(folder, name), schema)
}

/** The same for a file that has to be there. */
export async function requireJson<T>(folder: string, name: string, schema: z.ZodType<T>): Promise<T> {
  const json = await readJson(folder, name, schema)
  if (json !== undefined) return json
  throw new ContextFilesError(
    `${join(folder, name)} is missing: the bundle of a causal-lm context is a model folder in the Hugging Face layout ` +
      '(config.json, tokenizer.json, onnx/)',
  )
}

/** Python writes numbers that JSON does not have. */
const PYTHON_NUMBER = /[:[,]\s*(?:-?Infinity|NaN)\b/
/** Longest file in which they are looked for, characters: those of tokenizers are longer, and have none. */
const PYTHON_MAX = 1_000_000

/** Puts null in place of numbers that JSON does not have, but leaves texts as they are. */
function withoutPythonNumbers(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity\b|NaN\b/g, (match) =>
    match.startsWith('"') ? match : 'null',
  )
}

function parseJson<T>(text: string, path: string, schema: z.ZodType<T>): T {
  let json: unknown
  try {
    json = JSON.parse(
      text.length <= PYTHON_MAX && PYTHON_NUMBER.test(text) ? withoutPythonNumbers(text) : text,
    )
  } catch (error) {
    throw new ContextFilesError(`${path} is not JSON, perhaps cut off: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success)
    throw new ContextFilesError(`${path} is not what it should be: ${explain(parsed.error)}`)
  return parsed.data
}
