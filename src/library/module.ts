import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { LibrarySpec, ModuleFunction } from '../protocol/context.ts'
import { BundleError, ResultError } from './errors.ts'
import {
  bundleFolder,
  type Call,
  type CallOutcome,
  type LoadedContext,
  type RunFunction,
  type Setup,
} from './kind.ts'

type ModuleSpec = Extract<LibrarySpec, { library: 'module' }>
type Callable = (...args: unknown[]) => unknown

/**
 * Loads a context that is a module of the user's: imports it, and calls its setup function once.
 *
 * What setup returns is passed to every call. It is disposed of in the end if it can be (`Symbol.asyncDispose` or
 * `Symbol.dispose`).
 *
 * @throws {BundleError} when the module lacks something the context names; whatever the module itself throws
 */
export async function loadModule(setup: Setup, spec: ModuleSpec): Promise<LoadedContext> {
  const { bundle, file, call, args } = spec.setup
  const url = pathToFileURL(join(bundleFolder(setup, bundle), file))
  const exported = (await import(url.href)) as Record<string, unknown>
  const find = (name: string): Callable => {
    const found = exported[name]
    if (typeof found === 'function') return found as Callable
    const functions = Object.keys(exported).filter((key) => typeof exported[key] === 'function')
    throw new BundleError(
      `${file} exports no function "${name}"; it exports ${functions.join(', ') || 'none'}`,
    )
  }
  const functions = Object.entries(spec.functions).map(([name, how]) => ({
    name,
    how,
    call: find(how.export),
  }))
  const context = call === undefined ? undefined : await find(call)(...args)
  return {
    level: 'memory',
    functions: new Map(functions.map(({ name, how, call }) => [name, toRunFunction(how, call, context)])),
    close: () => dispose(context),
  }
}

function toRunFunction({ batch }: ModuleFunction, call: Callable, context: unknown): RunFunction {
  if (batch !== undefined) {
    return async (window, desk) => {
      for (let at = 0; at < window.length; at += batch) {
        const begun = await desk.begin(window.slice(at, at + batch))
        const outcomes = begun.length > 0 ? await callWithMany(call, begun, context) : []
        outcomes.forEach((outcome, i) => desk.end(begun[i]!, outcome))
        await nextTurn()
      }
    }
  }
  let size = 1
  return async (window, desk) => {
    for (let at = 0; at < window.length;) {
      const begun = await desk.begin(window.slice(at, at + size))
      at += size
      const started = performance.now()
      for (const each of begun) desk.end(each, await callWithOne(call, each, context))
      size = nextSize(size, performance.now() - started)
      // Lets results out and calls in, however short and however many the calls are.
      await nextTurn()
    }
  }
}

/** Calls that are begun together should take about this long, milliseconds: a moment, as far as time limits go. */
const TURN_MS = 5
const TURN_CALLS = 256

/**
 * How many calls to announce at once after `size` of them took `ms`. Slow calls are begun one by one, so that the worker
 * can tell which one hangs; very short ones are not worth a message each.
 */
export function nextSize(size: number, ms: number): number {
  const fitting = Math.floor((size * TURN_MS) / Math.max(ms, 0.001))
  return Math.max(1, Math.min(fitting, 2 * size, TURN_CALLS))
}

async function callWithOne(call: Callable, { input }: Call, context: unknown): Promise<CallOutcome> {
  try {
    return { value: await call(input, context) }
  } catch (error) {
    return { error }
  }
}

async function callWithMany(
  call: Callable,
  calls: readonly Call[],
  context: unknown,
): Promise<CallOutcome[]> {
  try {
    const inputs = calls.map(({ input }) => input)
    const values = await call(inputs, context)
    if (!Array.isArray(values) || values.length !== calls.length) {
      const got = Array.isArray(values) ? `${values.length} results` : 'no array'
      throw new ResultError(
        `a batch of ${calls.length} inputs gave ${got}: return an array with one result for each`,
      )
    }
    return Array.from(values, (value: unknown) => ({ value }))
  } catch (error) {
    return calls.map(() => ({ error }))
  }
}

async function dispose(context: unknown): Promise<void> {
  const disposable = context as Partial<AsyncDisposable & Disposable> | null | undefined
  await disposable?.[Symbol.asyncDispose]?.()
  disposable?.[Symbol.dispose]?.()
}
