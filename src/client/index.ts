/**
 * Gleaner's client: submits inference tasks to a factory and reads their results.
 *
 * @packageDocumentation
 */
export { connect, type AddContextOptions, type Client, type ConnectOptions } from './client.ts'
export { TaskFuture, type TaskProgress, type TaskState } from './app/future.ts'
export type { MapOptions, Mapped, MapProgress, MapResults } from './app/map.ts'
export { DependencyError, RemoteError } from './app/remote-error.ts'
export type { App, AppOptions, RemoteFunction } from './app/types.ts'
export { bundleFolder, loadVariable, reportProgress } from './app/variables.ts'
export type { TaskInput } from './batches.ts'
export { stateFolder } from './endpoint.ts'
export {
  ApiError,
  GleanerError,
  InputError,
  JobStuckError,
  NotRunningError,
  ProtocolError,
  UnreachableError,
} from './errors.ts'
export type { AddOptions, Job, ResultOptions } from './job.ts'
export type { CallOptions } from './transport.ts'
export type {
  AddTasksResponse,
  CreateJobRequest,
  JobErrors,
  JobInfo,
  ResultRow,
  Status,
} from '../protocol/client.ts'
export type { ContextSpec } from '../protocol/context.ts'
export { latestRun } from './run/job-name.ts'
export { runFile, type RunOptions, type RunProgress, type RunSummary } from './run/run.ts'
export type { InputSummary, InvalidLine } from './run/input.ts'
