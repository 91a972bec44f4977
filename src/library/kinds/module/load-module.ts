import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { BlobRef } from '../../../protocol/blob.ts'
import type { LibrarySpec, ModuleFunction } from '../../../protocol/contexts/context.ts'
import { toNative } from '../../../protocol/json/exact-numbers.ts'
import { ContextFilesError, ResultError } from '../../../common/task-errors.ts'
import {
  bundleFolder,
  type Call,
  type CallOutcome,
  type LoadedContext,
  type RunFunction,
  type Setup,
} from '../../runtime/library-kind.ts'
import { logOf, type CapturedOutput, captureOutput, shareOf } from '../../runtime/captured-output.ts'
import { type Report, reportProgressTo, installProgressReports } from '../../runtime/user-progress.ts'
import { inAdaptiveBatches } from '../../runtime/adaptive-batching.ts'

type ModuleSpec = Extract<LibrarySpec, { library: 'module' }>
type Callable = (...args: unknown[]) => unknown

/**
 * Loads a context that is a module of the user's: imports it, and calls its setup function once.
 *
 * What setup returns is passed to every call. It is disposed of in the end if it can be (`Symbol.asyncDispose` or
 * `Symbol.dispose`).
 *
 * @throws {ContextFilesError} when the module lacks something the context names; whatever the module itself throws
 */
export async function loadModule(setup: Setup, spec: ModuleSpec): Promise<LoadedContext> {
  const { bundle, file, call, args } = spec.setup
  const url = pathToFileURL(join(bundleFolder(setup, bundle), file))
  shareFolders(setup)
  installProgressReports()
  const exported = (await import(url.href)) as Record<string, unknown>
  const find = (name: string): Callable => {
    const found = exported[name]
    if (typeof found === 'function') return found as Callable
    const functions = Object.keys(exported).filter((key) => typeof exported[key] === 'function')
    throw new ContextFilesError(
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
  return inAdaptiveBatches(batch, async (calls, reporter) => {
    const reportOf =
      (calls: readonly Call[]): Report =>
      (done, total) =>
        reporter.progress(calls, done, total)
    if (batch !== undefined) {
      const outcomes = await reportProgressTo(reportOf(calls), () => callWithMany(call, calls, context))
      return outcomes.forEach((outcome, i) => reporter.end(calls[i]!, outcome))
    }
    for (const each of calls) {
      reporter.end(each, await reportProgressTo(reportOf([each]), () => callWithOne(call, each, context)))
    }
  })
}

async function callWithOne(call: Callable, { input }: Call, context: unknown): Promise<CallOutcome> {
  const output: CapturedOutput = {}
  try {
    const value = await captureOutput(output, () => call(toNative(input), context))
    return { value, ...blobsOf(value), ...logOf(output) }
  } catch (error) {
    return { error, ...logOf(output) }
  }
}

async function callWithMany(
  call: Callable,
  calls: readonly Call[],
  context: unknown,
): Promise<CallOutcome[]> {
  const output: CapturedOutput = {}
  const log = () => logOf(output, shareOf(calls.length))
  try {
    const inputs = calls.map(({ input }) => toNative(input))
    const values = await captureOutput(output, () => call(inputs, context))
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
