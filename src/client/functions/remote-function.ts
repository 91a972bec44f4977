/*
 * Runs beside a user's module on a worker: what of an application's calls happens there. Bundled together with the module.
 */
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readBlobSync, writeBlobSync } from '../../blobs/blob-folder.ts'
import { limits } from '../../protocol/limits.ts'
import type { JsonValue } from '../../protocol/primitives.ts'
import { decode, pack, unpack } from './value-codec.ts'
import { BLOBS, blobFolder, bundleFolder, keepVariables } from './setup-variables.ts'

type Callable = (...args: unknown[]) => unknown

// Before the module is loaded, so that stacks of its errors show the user's own lines.
process.setSourceMapsEnabled(true)

/** Has these packages, and what they need, come from the bundle they are in. */
export function usePackages(names: readonly string[], from: string): void {
  const parentURL = pathToFileURL(join(bundleFolder(from), 'package.json')).href
  const isOne = (specifier: string) =>
    names.some((name) => specifier === name || specifier.startsWith(`${name}/`))
  registerHooks({
    resolve: (specifier, context, next) =>
      next(specifier, isOne(specifier) ? { ...context, parentURL } : context),
  })
}

/** The exports by which a library of the kind `module` sets up and calls a user's module. */
export function remote(module: Record<string, unknown>) {
  const find = (name: string): Callable => {
    const found = module[name]
    if (typeof found === 'function') return found as Callable
    throw new TypeError(`the export "${name}" of the module is not a function`)
  }
  return {
    async setUp(name: string, args: JsonValue): Promise<unknown> {
      const variables = await call(find(name), decode(args) as unknown[])
      if (typeof variables !== 'object' || variables === null) {
        throw new TypeError(`${name} returned no variables: return an object of them, such as { model }`)
      }
      keepVariables(variables as Record<string, unknown>)
      return variables
    },
    call: (name: string) => async (input: JsonValue) => {
      const folder = blobFolder()
      const args = unpack(doubles(input) as JsonValue, (ref) => readBlobSync(folder, ref)) as unknown[]
      const { json, parts } = pack(await call(find(name), args))
      for (const { ref, bytes } of parts) writeBlobSync(folder, ref, bytes!)
      // A value with parts is an array, which can be labelled with them.
      return parts.length === 0 ? json : Object.assign(json as [], { [BLOBS]: parts.map(({ ref }) => ref) })
    },
  }
}

/** Bare numbers in what was packed are numbers of JavaScript, however large. */
function doubles(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(doubles)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, doubles(item)]))
}

async function call(callable: Callable, args: readonly unknown[]): Promise<unknown> {
  try {
    return await callable(...args)
  } catch (error) {
    trimStacks(error)
    throw error
  }
}

/** Of an error and what led to it, the stacks that the user sees. */
function trimStacks(error: unknown, depth = 0): void {
  if (!(error instanceof Error) || depth > limits.errorDepth) return
  if (error.stack) error.stack = ownPart(error.stack)
  trimStacks(error.cause, depth + 1)
  if (error instanceof AggregateError) for (const one of error.errors) trimStacks(one, depth + 1)
}

/** A stack down to where the user's code was called: below it is ours. */
function ownPart(stack: string): string {
  const lines = stack.split('\n')
  const end = lines.findIndex((line) => line.includes(import.meta.url))
  return end > 0 ? lines.slice(0, end).join('\n') : stack
}
