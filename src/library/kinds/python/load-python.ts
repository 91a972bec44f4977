import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { BlobRefs } from '../../../protocol/blob.ts'
import { Json, limits } from '../../../protocol/primitives.ts'
import type { LibrarySpec } from '../../../protocol/contexts/context.ts'
import { LIBRARY_FD } from '../../../protocol/library.ts'
import { toNative } from '../../../protocol/json/exact-numbers.ts'
import { Progress, TaskError } from '../../../protocol/task.ts'
import { openJsonLinesChannel } from '../../../common/json-lines-channel.ts'
import { foldersBeside, startContextProcess } from '../../runtime/context-process.ts'
import { bundleFolder, type CallOutcome, type LoadedContext, type Setup } from '../../runtime/library-kind.ts'
import { logOf, shareOf } from '../../runtime/captured-output.ts'
import type { Report } from '../../runtime/user-progress.ts'
import { inAdaptiveBatches } from '../../runtime/adaptive-batching.ts'
import { ForeignError } from '../../../common/task-errors.ts'

type PythonSpec = Extract<LibrarySpec, { library: 'python' }>

/** How setup, and then each call, ended: one line each. */
const log = z.string().optional()
const FromPython = z.union([
  z.object({ value: Json, blobs: BlobRefs.optional(), log }),
  z.object({ error: TaskError, log }),
  z.object({ progress: z.preprocess(toNative, Progress) }),
])
type FromPython = z.infer<typeof FromPython>

type ToPython =
  | {
      file: string
      call: string | null
      args: unknown[]
      functions: Record<string, string>
      bundles: Record<string, string>
      blobs: string
    }
  | { function: string; inputs: unknown[]; batch: boolean }

/** Where Python's package `gleaner` is, and the program that runs it: beside a bundled program, or in its room. */
const PACKAGE_FOLDERS = ['./python/', '../../../client/python/'].map((path) => new URL(path, import.meta.url))
const ADVICE =
  "load a module with python3 in the site's `setup`, or name one in a bundle as `python` in the context's setup"

/**
 * Loads a context that is a Python file of the user's, in a Python process of its own, which ends with this one: imports
 * it, and calls its setup function once.
 *
 * @throws what the file raised, with its traceback; ChildGone if there is no Python or it ends
 */
export async function loadPython(setup: Setup, spec: PythonSpec): Promise<LoadedContext> {
  const { bundle, file, call = null, args, python, version } = spec.setup
  const program = findProgram(setup, python, version)
  const path = join(bundleFolder(setup, bundle), file)
  const child = startContextProcess(
    program,
    // Bundles stay as they are: nothing compiled is written beside the sources. Calls find the programs beside the interpreter
    // first; the interpreter itself does not, for it may be a script that starts the node's.
    ['-B', packageFolder(), ...foldersBeside(program)],
    { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] },
    ADVICE,
  )
  const channel = openJsonLinesChannel<FromPython, ToPython>(
    child.process.stdio[LIBRARY_FD] as Duplex,
    FromPython,
  )
  const answers = channel.messages[Symbol.asyncIterator]()
  const close = () => child.stop(() => channel.close())

  const nextOutcome = async (report: Report = () => {}): Promise<CallOutcome> => {
    const answer = await answers.next()
    if (answer.done) throw await child.gone
    if ('progress' in answer.value) {
      const { done, total } = answer.value.progress
      report(done, total)
      return nextOutcome(report)
    }
    return 'error' in answer.value ? { ...answer.value, error: toError(answer.value.error) } : answer.value
  }

  const functions = Object.entries(spec.functions).map(([name, how]) => ({ name, ...how }))
  void channel.send({
    file: path,
    call,
    args,
    functions: Object.fromEntries(functions.map((f) => [f.name, f.call])),
    bundles: setup.bundles,
    blobs: setup.blobs,
  })
  const made = await nextOutcome()
  if ('error' in made) {
    await close()
    throw made.error
  }

  const toRunFunction = (name: string, batch: number | undefined) =>
    inAdaptiveBatches(batch, async (calls, reporter) => {
      const inputs = calls.map(({ input }) => input)
      void channel.send({ function: name, inputs, batch: batch !== undefined })
      const share = batch === undefined ? limits.log : shareOf(calls.length)
      for (const each of calls) {
        const about = batch === undefined ? [each] : calls
        const { log, ...outcome } = await nextOutcome((done, total) => reporter.progress(about, done, total))
        reporter.end(each, { ...outcome, ...logOf({ ...(log !== undefined && { text: log }) }, share) })
      }
    })
  return {
    level: 'memory',
    functions: new Map(functions.map(({ name, batch }) => [name, toRunFunction(name, batch)])),
    lost: child.gone,
    close,
  }
}

/** What was raised in Python, as if it had been thrown here. */
function toError({ name, message, stack, cause, errors, original }: TaskError): Error {
  const along = { ...(cause && { cause: toError(cause) }), ...(errors && { errors: errors.map(toError) }) }
  const error = original === undefined ? new Error(message) : new ForeignError(message, original)
  return Object.assign(error, { name, stack: stack ?? message, ...along })
}

function findProgram(
  setup: Setup,
  python: PythonSpec['setup']['python'],
  version: string | undefined,
): string {
  if (python === undefined) return findPython(version)
  return 'path' in python ? python.path : join(bundleFolder(setup, python.bundle), python.file)
}

/** The node's interpreter of this version, if it has one by that name, such as `python3.11`. */
function findPython(version: string | undefined): string {
  const name = `python${version}`
  const folders = (process.env.PATH ?? '').split(delimiter)
  return version !== undefined && folders.some((folder) => existsSync(join(folder, name))) ? name : 'python3'
}

function packageFolder(): string {
  const folders = PACKAGE_FOLDERS.map((url) => fileURLToPath(url))
  const found = folders.find((folder) => existsSync(folder))
  if (found === undefined)
    throw new Error(`Python's package is missing: it is not in ${folders.join(' or ')}`)
  return found
}
