import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BlobRef } from '../protocol/blob.ts'
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
import { logOf, type Printed, printingTo, shareOf } from './output.ts'
import { type Report, reportingTo, takeReports } from './progress.ts'
import { inTurns } from './turns.ts'

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
  shareFolders(setup)
  takeReports()
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
  return inTurns(batch, async (calls, desk) => {
    const reportOf =
      (calls: readonly Call[]): Report =>
      (done, total) =>
        desk.progress(calls, done, total)
    if (batch !== undefined) {
      const outcomes = await reportingTo(reportOf(calls), () => callWithMany(call, calls, context))
      return outcomes.forEach((outcome, i) => desk.end(calls[i]!, outcome))
    }
    for (const each of calls) {
      desk.end(each, await reportingTo(reportOf([each]), () => callWithOne(call, each, context)))
    }
  })
}

async function callWithOne(call: Callable, { input }: Call, context: unknown): Promise<CallOutcome> {
  const printed: Printed = {}
  try {
    const value = await printingTo(printed, () => call(input, context))
    return { value, ...blobsOf(value), ...logOf(printed) }
  } catch (error) {
    return { error, ...logOf(printed) }
  }
}

async function callWithMany(
  call: Callable,
  calls: readonly Call[],
  context: unknown,
): Promise<CallOutcome[]> {
  const printed: Printed = {}
  const log = () => logOf(printed, shareOf(calls.length))
  try {
    const inputs = calls.map(({ input }) => input)
    const values = await printingTo(printed, () => call(inputs, context))
    if (!Array.isArray(values) || values.length !== calls.length) {
      const got = Array.isArray(values) ? `${values.length} results` : 'no array'
      throw new ResultError(
        `a batch of ${calls.length} inputs gave ${got}: return an array with one result for each`,
      )
    }
    const shared = log()
    return Array.from(values, (value: unknown) => ({ value, ...blobsOf(value), ...shared }))
  } catch (error) {
    const shared = log()
    return calls.map(() => ({ error, ...shared }))
  }
}

/** Under this name a value says which blobs it refers to, and a module finds the folder for them. */
const BLOBS = Symbol.for('gleaner.blobs')

function blobsOf(value: unknown): { blobs?: readonly BlobRef[] } {
  const blobs = (value as { [BLOBS]?: readonly BlobRef[] } | null | undefined)?.[BLOBS]
  return blobs ? { blobs } : {}
}

/** A module finds the folders of its context's bundles and of blobs here; a process holds one context. */
function shareFolders({ bundles, blobs }: Setup): void {
  Object.assign(globalThis, { [Symbol.for('gleaner.bundles')]: bundles, [BLOBS]: blobs })
}

async function dispose(context: unknown): Promise<void> {
  const disposable = context as Partial<AsyncDisposable & Disposable> | null | undefined
  await disposable?.[Symbol.asyncDispose]?.()
  disposable?.[Symbol.dispose]?.()
}
