import { z } from 'zod'
import {
  BackupResponse,
  ContextsResponse,
  JobInfo,
  JobsResponse,
  Status,
  type AddContextRequest,
  type BackupRequest,
  type CreateJobRequest,
} from '../protocol/client.ts'
import { ContextSpec } from '../protocol/context.ts'
import { createApps } from './functions/app.ts'
import type { App, AppOptions } from './functions/types.ts'
import { isGone, notRunning, readCertificate, readEndpoint, stateFolder, type Address } from './endpoint.ts'
import { UnreachableError } from './errors.ts'
import { jobHandle, type Job } from './job.ts'
import { createHttpClient, type CallOptions } from './http-client.ts'

export interface ConnectOptions {
  /** The factory's state folder, which says where it listens. Default: `$GLEANER_STATE`, or `~/.gleaner`. */
  state?: string | undefined
  /** Where the manager listens, for a client that cannot read the state folder; needs `token`. */
  url?: string
  /** The secret from the factory's `endpoint.json`. */
  token?: string
  /** The manager's certificate (PEM), the `manager.crt` of the state folder, if it made its own. */
  ca?: string
  /** How long to keep trying while the manager cannot be reached, milliseconds. Default: 5 minutes. */
  patienceMs?: number
  /** Told each time the manager could not be reached and will be tried again. */
  onRetry?: (error: UnreachableError) => void
}

export interface AddContextOptions extends CallOptions {
  /** It goes, with its files, when no job has needed it for so long, milliseconds. Default: it stays. */
  keepMs?: number
}

/**
 * A connection to a factory's manager. All methods throw a GleanerError: ApiError if the manager refuses,
 * NotRunningError if there is none, UnreachableError if it does not come back in time.
 */
export interface Client extends AsyncDisposable {
  /** Makes a job, or finds the one of that name that was made for the same context and function. */
  createJob(request: CreateJobRequest, options?: CallOptions): Promise<Job>
  /** The job of that number. Asks the manager nothing until it is used. */
  job(id: number): Job
  jobs(options?: CallOptions): Promise<JobInfo[]>
  status(options?: CallOptions): Promise<Status>
  /**
   * Opens a module of the application's own, whose functions then run on workers. It is bundled with all it imports, and
   * registered, when the first call is made.
   *
   * @param module its path, relative to the calling file, or its URL
   *
   * @example
   * const { inferModel } = factory.app<typeof import('./model.ts')>('./model.ts', { context: ['loadModel', path] })
   * console.log(await inferModel(['a claim']))
   */
  app<M>(module: string | URL, options?: AppOptions<M>): App<M>
  contexts(options?: CallOptions): Promise<ContextSpec[]>
  /**
   * Registers a context from its context.yaml (or the folder of it), an absolute path on the manager's machine. Packs
   * its bundles, which may take minutes.
   */
  addContext(path: string, options?: AddContextOptions): Promise<ContextSpec>
  /**
   * Has the workers that have nothing else to fetch bring a context's files to their disks, now and as they come, until it
   * is dropped or the factory stops.
   */
  warmContext(name: string, options?: CallOptions): Promise<ContextSpec>
  /** Has all workers let go of a context, in memory and on disk. Refused while a job needs it. */
  dropContext(name: string, options?: CallOptions): Promise<ContextSpec>
  /**
   * Copies the ledger to a new file, an absolute path on the manager's machine, while work goes on. Large arguments and results
   * are not in it: tasks that need them fail in a factory that does not have the folder `blobs` of the state folder, too.
   * @returns its size, and that of `blobs`, in bytes
   */
  backup(file: string, options?: CallOptions): Promise<BackupResponse>
  /** Stops the factory and removes its pilots; with `drain`, after the queued work is done. */
  stop(options?: CallOptions & { drain?: boolean }): Promise<void>
  /** Ends the jobs of its apps, and all connections. */
  close(): Promise<void>
}

const PATIENCE_MS = 5 * 60_000
/** Packing a bundle or copying a ledger of tens of gigabytes takes this long at worst, milliseconds. */
const PACKING_MS = 60 * 60_000

/**
 * Connects to a factory. Asks it nothing yet, so it cannot fail.
 *
 * @example
 * await using client = connect()
 * const job = await client.createJob({ name: 'claims', context: 'fact-verification' })
 * await job.add([{ key: '1', input: { claim: '…', evidence: '…' } }])
 * await job.close()
 * for await (const { key, value } of job.results()) console.log(key, value)
 */
export function connect({
  state,
  url,
  token,
  ca,
  patienceMs = PATIENCE_MS,
  onRetry,
}: ConnectOptions = {}): Client {
  const locate =
    url !== undefined && token !== undefined ? fixed({ url, token, ca }) : inState(stateFolder(state))
  const transport = createHttpClient({ locate, patienceMs, onRetry })
  const tellOf = (name: string, what: 'warm' | 'drop', { signal }: CallOptions = {}) => {
    const path = `/v1/contexts/${encodeURIComponent(name)}/${what}`
    return transport.call({ method: 'POST', path, body: '{}', answer: ContextSpec, signal })
  }

  const client: Client = {
    async createJob(request, { signal } = {}) {
      const body = JSON.stringify(request)
      const { id } = await transport.call({ method: 'POST', path: '/v1/jobs', body, answer: JobInfo, signal })
      return jobHandle(transport, id)
    },
    job: (id) => jobHandle(transport, id),
    app: (module, options) => apps.open(module, options),
    async jobs({ signal } = {}) {
      return (await transport.call({ method: 'GET', path: '/v1/jobs', answer: JobsResponse, signal })).jobs
    },
    status: ({ signal } = {}) =>
      transport.call({ method: 'GET', path: '/v1/status', answer: Status, signal }),
    async contexts({ signal } = {}) {
      const answer = ContextsResponse
      return (await transport.call({ method: 'GET', path: '/v1/contexts', answer, signal })).contexts
    },
    addContext(path, { keepMs, signal } = {}) {
      const body = JSON.stringify({ path, keepMs } satisfies AddContextRequest)
      const timeoutMs = PACKING_MS
      return transport.call({
        method: 'POST',
        path: '/v1/contexts',
        body,
        answer: ContextSpec,
        timeoutMs,
        signal,
      })
    },
    warmContext: (name, options) => tellOf(name, 'warm', options),
    dropContext: (name, options) => tellOf(name, 'drop', options),
    async backup(file, { signal } = {}) {
      return await transport.call({
        method: 'POST',
        path: '/v1/backup',
        body: JSON.stringify({ file } satisfies BackupRequest),
        answer: BackupResponse,
        timeoutMs: PACKING_MS,
        // Not repeated: it would be refused, since the file is there.
        repeatable: false,
        signal,
      })
    },
    async stop({ drain = false, signal } = {}) {
      const body = JSON.stringify({ drain })
      // Not repeated: the next factory on this state folder would be stopped by an echo.
      const repeatable = false
      await transport.call({
        method: 'POST',
        path: '/v1/stop',
        body,
        answer: z.unknown(),
        repeatable,
        signal,
      })
    },
    async close() {
      await apps.close()
      await transport.close()
    },
    [Symbol.asyncDispose]: () => client.close(),
  }
  const apps = createApps(client, transport)
  return client
}

const fixed = (address: Address) => () => Promise.resolve(address)

function inState(state: string) {
  return async (lost: boolean): Promise<Address> => {
    const endpoint = readEndpoint(state)
    if (endpoint && !isGone(endpoint)) {
      const ca = endpoint.url.startsWith('https:') ? await readCertificate(state) : undefined
      return { ...endpoint, ca }
    }
    if (lost)
      throw new UnreachableError(`the factory on ${state} is gone: start it again with "factory start"`)
    throw notRunning(state)
  }
}
