/**
 * Gleaner's client: submits inference tasks to a factory and reads their results.
 *
 * @packageDocumentation
 */
export { connect, type AddContextOptions, type Client, type ConnectOptions } from './client.ts'
export type { EventsOptions } from './client-types.ts'
export type { EventsResponse, EventType, FactoryEvent } from '../protocol/events.ts'
export { TaskFuture, type TaskProgress, type TaskState } from './functions/task-future.ts'
export type { MapOptions, Mapped, MapProgress, MapResults } from './functions/map-items.ts'
export { DependencyError, RemoteError } from './functions/remote-error.ts'
export type { App, AppOptions, RemoteFunction } from './functions/app-types.ts'
export { bundleFolder, loadVariable, reportProgress } from './functions/setup-variables.ts'
export type { TaskInput } from './task-batches.ts'
export { stateFolder } from './endpoint.ts'
export {
  ApiError,
  GleanerError,
  InputError,
  JobStuckError,
  NotRunningError,
  ProtocolError,
  ShellError,
  UnreachableError,
} from './errors.ts'
export type { Shell, ShellEnd, ShellOptions } from './shell.ts'
export type { AddOptions, Job } from './job.ts'
export type { ResultOptions } from './job-pages.ts'
export type { CallOptions } from './http-client.ts'
export type { AddTasksResponse, CreateJobRequest, JobErrors, JobInfo, ResultRow } from '../protocol/client.ts'
export type { PilotsResponse, PilotStatus, Status } from '../protocol/status.ts'
export type { ContextSpec } from '../protocol/contexts/context.ts'
export { type ErrorCode, errorCodes } from '../protocol/error-codes.ts'
export { latestRun } from './run/run-identity.ts'
export type { RowMapping } from './run/row-to-input.ts'
export { runFile, type RunOptions, type RunSummary } from './run/run-file.ts'
export type { RunProgress } from './run/submit.ts'
export type { InputSummary, InvalidLine } from './run/input.ts'
