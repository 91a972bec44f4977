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
  if (text === undefined) return undefined
  const path = join(folder, name)
  return checkJson(parseJson(text, path), path, schema)
}

/** The same for a file that has to be there. */
export async function requireJson<T>(folder: string, name: string, schema: z.ZodType<T>): Promise<T> {
  const path = join(folder, name)
  return checkJson(parseJson(await requireText(folder, name), path), path, schema)
}

/** {@link readText} of a file that has to be there. */
export async function requireText(folder: string, name: string): Promise<string> {
  const text = await readText(folder, name)
  if (text !== undefined) return text
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

/** @throws {ContextFilesError} naming the file `path`, whose text it is */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(
      text.length <= PYTHON_MAX && PYTHON_NUMBER.test(text) ? withoutPythonNumbers(text) : text,
    )
  } catch (error) {
    throw new ContextFilesError(`${path} is not JSON, perhaps cut off: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** @throws {ContextFilesError} naming the file `path`, which has it */
export function checkJson<T>(json: unknown, path: string, schema: z.ZodType<T>): T {
  const checked = schema.safeParse(json)
  if (checked.success) return checked.data
  throw new ContextFilesError(`${path} is not what it should be: ${explain(checked.error)}`)
}
