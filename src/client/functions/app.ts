import { randomUUID } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { getCallSites } from 'node:util'
import type { CreateJobRequest } from '../../protocol/client.ts'
import type { Client } from '../client-types.ts'
import type { HttpClient } from '../http-client.ts'
import { createBlobTransfer } from './blob-transfer.ts'
import { InputError } from '../errors.ts'
import { startCall } from './call.ts'
import { compile, type Compiled } from './compile-module.ts'
import { registerModule, type ContextOptions, type ModuleContext, type Setup } from './module-context.ts'
import { mapItems, type MapOptions } from './map-items.ts'
import { openJobCalls, type JobCalls } from './job-calls.ts'
import type { App, AppOptions } from './app-types.ts'
import { uploadContext, type Upload } from './upload-context.ts'
import { encode } from './value-codec.ts'

/** Options as they are once the types have done their part. */
type Options = Omit<AppOptions<unknown>, 'context'> & { context?: Setup }

/**
 * Calls that only this start of the program can ask for: they need not be kept beyond it, nor run on for long when it was
 * killed. While it waits for any it is heard of once a minute, unless something blocks it.
 */
const OF_THIS_START = { keepMs: 0, abandonMs: 30 * 60_000 }

type FactoryEnd = Pick<Client, 'contexts' | 'createJob'>

/** All apps of one client. */
export interface Apps {
  open<M>(module: string | URL, options?: AppOptions<M>): App<M>
  /** Ends the jobs of all apps. */
  close(): Promise<void>
}

export function createApps(client: FactoryEnd, transport: HttpClient): Apps {
  const blobs = createBlobTransfer(transport)
  const modules = new Map<string, Promise<Compiled>>()
  const contexts = new Map<string, Promise<ModuleContext>>()
  const jobs = new Map<string, { calls: JobCalls; options: string; named: boolean }>()

  const upload = (context: Upload) => uploadContext(transport, blobs, context)

  function contextOf(file: string, options: ContextOptions, signal: AbortSignal): Promise<ModuleContext> {
    return remember(contexts, JSON.stringify([file, encode(options)]), async () => {
      const compiled = await remember(modules, file, () => compile(file))
      return await registerModule(client, compiled, options, upload, signal)
    })
  }

  /** @param key what tells the job of these calls from others */
  function callsOf(file: string, name: string, options: Options, key: string): JobCalls {
    const jobOptions = jobOptionsOf(options)
    const optionsText = JSON.stringify(jobOptions)
    const known = jobs.get(key)
    if (known && known.options !== optionsText) {
      throw new InputError(
        `${name} is called with other retries, timeLimitMs or priority than before in job "${options.job}": name another job`,
      )
    }
    if (known) return known.calls
    const job = options.job ?? `app-${randomUUID()}`
    if (job.length > 80) throw new InputError(`the job's name "${job}" is longer than 80 characters`)
    const calls = openJobCalls(async (signal) => {
      const { name: contextName, functions } = await contextOf(file, contextOptionsOf(file, options), signal)
      if (!functions.includes(name)) {
        throw new InputError(`${file} exports no "${name}"; it exports ${functions.join(', ')}`)
      }
      const request: CreateJobRequest = {
        name: `${job}/${name}@${contextName.slice(-12)}`,
        context: contextName,
        function: name,
        options: { ...jobOptions, ...(options.job === undefined && OF_THIS_START) },
      }
      return await client.createJob(request, { signal })
    }, blobs)
    // A program that comes to its end without closing its client still says that no more calls will come.
    if (jobs.size === 0) process.once('beforeExit', closeAll)
    jobs.set(key, { calls, options: optionsText, named: options.job !== undefined })
    return calls
  }

  async function close(): Promise<void> {
    process.off('beforeExit', closeAll)
    const all = [...jobs.values()]
    jobs.clear()
    await Promise.all(all.map(({ calls, named }) => calls.close({ cancel: !named })))
  }
  const closeAll = () => void close()

  function remoteFunction(file: string, name: string, options: Options): object {
    let key: string | undefined
    const calls = () => callsOf(file, name, options, (key ??= jobKey(file, name, options)))
    const call = (...args: unknown[]) => startCall(args, { calls, blobs, signal: options.signal })
    return Object.assign(call, {
      with: (changes: Options) => remoteFunction(file, name, { ...options, ...changes }),
      map: (items: Iterable<unknown> | AsyncIterable<unknown>, how?: MapOptions) =>
        mapItems(call, items, how),
    })
  }

  return {
    open<M>(module: string | URL, options: AppOptions<M> = {}) {
      const file = locate(module)
      const functions = new Map<string, object>()
      return new Proxy(Object.create(null) as App<M>, {
        get(_, name) {
          // It must not look like a promise to those who await it.
          if (typeof name !== 'string' || name === 'then') return undefined
          const made = functions.get(name) ?? remoteFunction(file, name, options)
          functions.set(name, made)
          return made
        },
      })
    },
    close,
  }
}

/** Calls of one function in one context and one job belong together; without a name for it, also with the same options. */
function jobKey(file: string, name: string, options: Options): string {
  const job = options.job ?? { unnamed: jobOptionsOf(options) }
  return JSON.stringify([file, name, encode(contextOptionsOf(file, options)), job])
}

function contextOptionsOf(file: string, { context: setup, bundles = {} }: Options): ContextOptions {
  const folders = Object.entries(bundles).map(([name, path]) => [name, resolve(dirname(file), path)])
  return { setup, bundles: Object.fromEntries(folders) as Record<string, string> }
}

function jobOptionsOf({ retries, timeLimitMs, priority }: Options): NonNullable<CreateJobRequest['options']> {
  return {
    ...(retries !== undefined && { retries }),
    ...(timeLimitMs !== undefined && { timeLimitMs }),
    ...(priority !== undefined && { priority }),
  }
}

/** What was made under a key, or is being made. What failed is made again the next time. */
function remember<T>(made: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = made.get(key)
  if (known) return known
  const making = make()
  made.set(key, making)
  making.catch(() => made.delete(key))
  return making
}

/** The file of a module: a relative path is one from the file that called `app`, as in an import. */
function locate(module: string | URL): string {
  if (module instanceof URL || module.startsWith('file:')) return fileURLToPath(module)
  return resolve(dirname(callerFile()), module)
}

/** Files that stand between the application and {@link callerFile}. */
const OURS = [import.meta.url, new URL('../client', import.meta.url).href]

function callerFile(): string {
  const sites = getCallSites(10, { sourceMap: false })
  const urls = sites.map(({ scriptName }) =>
    scriptName.startsWith('/') ? pathToFileURL(scriptName).href : scriptName,
  )
  const found = urls.find((url) => url.startsWith('file:') && !OURS.some((own) => url.startsWith(own)))
  if (found === undefined) {
    throw new InputError('it cannot be told from where app was called: give new URL(path, import.meta.url)')
  }
  return fileURLToPath(found)
}
