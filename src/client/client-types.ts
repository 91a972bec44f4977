import type {
  BackupResponse,
  ContextsResponse,
  CreateKeyRequest,
  CreateKeyResponse,
  KeyInfo,
  CreateJobRequest,
  JobInfo,
  ReloadResponse,
} from '../protocol/client.ts'
import type { PilotsResponse, SiteOrder, SiteStatus, Status } from '../protocol/status.ts'
import type { SiteExplanation } from '../protocol/explanation.ts'
import type { EventsResponse, EventType } from '../protocol/events.ts'
import type { ContextSpec } from '../protocol/contexts/context.ts'
import type { DashboardRole, LoginCode } from '../protocol/dashboard-login.ts'
import type { UnreachableError } from './errors.ts'
import type { App, AppOptions } from './functions/app-types.ts'
import type { CallOptions } from './http-client.ts'
import type { Job } from './job.ts'
import type { Shell, ShellOptions } from './shell.ts'

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

/** Which events to read. */
export interface EventsOptions extends CallOptions {
  /** Those after this cursor. Default: from the oldest. */
  after?: number | undefined
  /** In place of `after`: the last so many. */
  last?: number | undefined
  /** Most events in the answer. Default: 1,000. */
  limit?: number
  /** Only those that name this job, this site, or are of one of these types. */
  job?: number | undefined
  site?: string | undefined
  types?: readonly EventType[] | undefined
  /** How long to wait for the next event if there is none, milliseconds. Default: not at all. */
  waitMs?: number
}

export interface CreateJobOptions extends CallOptions {
  /**
   * The span that the job is part of, as in the header `traceparent` of W3C's Trace Context. Default: what the environment variable
   * TRACEPARENT says; without it, or if it is none, the job is a trace of its own.
   */
  traceparent?: string | undefined
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
  createJob(request: CreateJobRequest, options?: CreateJobOptions): Promise<Job>
  /** The job of that number. Asks the manager nothing until it is used. */
  job(id: number): Job
  jobs(options?: CallOptions): Promise<JobInfo[]>
  status(options?: CallOptions): Promise<Status>
  /** A page of what happened, oldest first; its `cursor` is where the next one begins. */
  events(options?: EventsOptions): Promise<EventsResponse>
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
  /** How far the contexts are that are being added. */
  packing(options?: CallOptions): Promise<ContextsResponse['packing']>
  /**
   * Has the workers that have nothing else to fetch bring a context's files to their disks, now and as they come, until it
   * is dropped or the factory stops.
   */
  warmContext(name: string, options?: CallOptions): Promise<ContextSpec>
  /** Has all workers let go of a context, in memory and on disk. Refused while a job needs it. */
  dropContext(name: string, options?: CallOptions): Promise<ContextSpec>
  /**
   * Has a site submit nothing more (`pause`), let its pilots go as well once they have finished what they have in hand (`drain`),
   * or work as its policy says again (`work`). It holds also when the factory is started again.
   */
  orderSite(site: string, order: SiteOrder, options?: CallOptions): Promise<SiteStatus>
  /** The pilots of all sites that have not ended. */
  pilots(options?: CallOptions): Promise<PilotsResponse>
  /** Why a site has the pilots it has, and no more. */
  explainSite(site: string, options?: CallOptions): Promise<SiteExplanation>
  /**
   * Runs a command, or a terminal, in a pilot whose site allows it (`shell: true`). Resolves when it is wanted of the pilot; what
   * becomes of it is told to `options`.
   * @param pilot such as `p3`
   * @throws ApiError 403 where the site does not allow it, 404 for a pilot that has no worker now
   */
  openShell(pilot: string, options: ShellOptions): Promise<Shell>
  /**
   * Copies the ledger to a new file, an absolute path on the manager's machine, while work goes on. Large arguments and results
   * are not in it: tasks that need them fail in a factory that does not have the folder `blobs` of the state folder, too.
   * @returns its size, and that of `blobs`, in bytes
   */
  backup(file: string, options?: CallOptions): Promise<BackupResponse>
  /**
   * Makes a key for the OpenAI API, for a program that is to use models and nothing else. The key is in the answer only.
   *
   * @throws ApiError if there is, or was, one of that name
   */
  createKey(key: CreateKeyRequest, options?: CallOptions): Promise<CreateKeyResponse>
  /** Keys of the OpenAI API, those that were revoked included. */
  keys(options?: CallOptions): Promise<KeyInfo[]>
  /** From now on, the key opens nothing. @throws ApiError if there is none of that name */
  revokeKey(name: string, options?: CallOptions): Promise<KeyInfo>
  /** Makes a code by which one browser signs in to the dashboard, once. */
  dashboardCode(role: DashboardRole, options?: CallOptions): Promise<LoginCode>
  /** Signs all browsers out of the dashboard; returns how many there were. */
  endDashboardSessions(options?: CallOptions): Promise<number>
  /**
   * Has the factory read its configuration again; what it cannot change while it runs is named.
   * @throws GleanerError that says what is wrong with the configuration; the factory goes on by the old one
   */
  reload(options?: CallOptions): Promise<ReloadResponse>
  /** Stops the factory and removes its pilots; with `drain`, after the queued work is done. */
  stop(options?: CallOptions & { drain?: boolean }): Promise<void>
  /** Ends the jobs of its apps, and all connections. */
  close(): Promise<void>
}
