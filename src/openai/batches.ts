import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { writeJson } from '../common/write-json.ts'
import { RequestError } from '../manager/http/api-errors.ts'
import type { Contexts } from '../manager/services/contexts/contexts.ts'
import type { Jobs } from '../manager/services/jobs/jobs.ts'
import { JobOptions } from '../protocol/client.ts'
import { explain } from '../protocol/primitives.ts'
import type { JsonText } from '../protocol/json/json-text.ts'
import type { Access } from '../manager/services/api-keys.ts'
import { mayUse, Owner, requireModel } from './access.ts'
import { checkLines, type LineError, readRequests } from './batch-lines.ts'
import { errorLine, resultLine } from './result-lines.ts'
import { ApiFailure } from './error-bodies.ts'
import { type FileStore, newId, secondsNow } from './file-store.ts'
import { ENDPOINTS, functionFor } from './endpoint-functions.ts'
import { taskInput } from './task-input.ts'

/** Tasks that are handed to the manager at once, and results that are read at once. */
const TASKS_AT_ONCE = 2_000
const RESULTS_AT_ONCE = 5_000
/** How long a look for new results lasts, milliseconds. */
const LOOK_MS = 5_000
const WINDOW_S = 24 * 3600

const STATES = [
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
] as const
type State = (typeof STATES)[number]
const FINAL: readonly State[] = ['failed', 'completed', 'expired', 'cancelled']

const Time = z.int().nullable().default(null)

/** A batch as the API describes it. */
const BatchObject = z.object({
  id: z.string(),
  object: z.literal('batch'),
  endpoint: z.enum(ENDPOINTS),
  errors: z
    .object({
      object: z.literal('list'),
      data: z.array(
        z.object({
          code: z.string(),
          message: z.string(),
          param: z.string().nullable(),
          line: z.int().nullable(),
        }),
      ),
    })
    .nullable(),
  input_file_id: z.string(),
  completion_window: z.literal('24h'),
  status: z.enum(STATES),
  output_file_id: z.string().nullable(),
  error_file_id: z.string().nullable(),
  created_at: z.int(),
  in_progress_at: Time,
  expires_at: Time,
  finalizing_at: Time,
  completed_at: Time,
  failed_at: Time,
  expired_at: Time,
  cancelling_at: Time,
  cancelled_at: Time,
  request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
  metadata: z.record(z.string(), z.string()).nullable(),
})
export type BatchObject = z.output<typeof BatchObject>

/** A batch with what only this program needs to know of it. */
const BatchRecord = z.object({
  batch: BatchObject,
  job: z.int().nullable(),
  model: z.string().nullable(),
  owner: Owner,
  /** The only models that its key is for. */
  models: z.array(z.string()).optional(),
})
type BatchRecord = z.output<typeof BatchRecord>

export const CreateBatch = z.strictObject({
  input_file_id: z.string(),
  endpoint: z.enum(ENDPOINTS, `expected one of ${ENDPOINTS.join(', ')}`),
  completion_window: z.literal('24h'),
  metadata: z
    .record(z.string().max(64), z.string().max(512))
    .refine((metadata) => Object.keys(metadata).length <= 16, 'has more than 16 keys')
    .nullish(),
})

export interface BatchesOptions {
  folder: string
  files: FileStore
  jobs: Jobs
  contexts: Contexts
  log: Logger
}

/** Batches of requests: each is looked through, run as one job, and its results are written to files. */
export class Batches {
  readonly #parts: BatchesOptions
  readonly #records: Map<string, BatchRecord>
  readonly #stopped = new AbortController()
  readonly #running = new Set<Promise<void>>()
  /** The last write of each record: they are one after the other, and the last has what is true in the end. */
  readonly #saving = new WeakMap<BatchRecord, Promise<void>>()

  private constructor(parts: BatchesOptions, records: Map<string, BatchRecord>) {
    this.#parts = parts
    this.#records = records
  }

  /** Opens the folder, and goes on with the batches that have not ended. */
  static async open(parts: BatchesOptions): Promise<Batches> {
    await mkdir(parts.folder, { recursive: true, mode: 0o700 })
    const records = new Map<string, BatchRecord>()
    for (const name of await readdir(parts.folder)) {
      if (!name.endsWith('.json')) continue
      const parsed = BatchRecord.safeParse(JSON.parse(await readFile(join(parts.folder, name), 'utf8')))
      if (parsed.success) records.set(parsed.data.batch.id, parsed.data)
      else parts.log.warn({ name, problem: explain(parsed.error) }, 'a batch cannot be read')
    }
    const batches = new Batches(parts, records)
    for (const record of records.values()) if (!FINAL.includes(record.batch.status)) batches.#begin(record)
    return batches
  }

  /** @throws {ApiFailure} 404 for a file that is not there */
  async create(request: z.output<typeof CreateBatch>, access: Access): Promise<BatchObject> {
    const { input_file_id, endpoint, completion_window, metadata } = request
    this.#parts.files.get(input_file_id, access)
    const now = secondsNow()
    const batch: BatchObject = {
      id: newId('batch_'),
      object: 'batch',
      endpoint,
      errors: null,
      input_file_id,
      completion_window,
      status: 'validating',
      output_file_id: null,
      error_file_id: null,
      created_at: now,
      expires_at: now + WINDOW_S,
      in_progress_at: null,
      finalizing_at: null,
      completed_at: null,
      failed_at: null,
      expired_at: null,
      cancelling_at: null,
      cancelled_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      metadata: metadata ?? null,
    }
    const { key: owner = null, models } = access
    const record: BatchRecord = {
      batch,
      job: null,
      model: null,
      owner,
      ...(models && { models: [...models] }),
    }
    await this.#save(record)
    this.#records.set(batch.id, record)
    this.#begin(record)
    return batch
  }

  /** Those that a key may see, newest first. */
  list(access: Access): BatchObject[] {
    const seen = [...this.#records.values()].filter(({ owner }) => mayUse(access, owner))
    const all = seen.map((record) => this.#view(record))
    return all.sort((a, b) => b.created_at - a.created_at || b.id.localeCompare(a.id))
  }

  /** @throws {ApiFailure} 404 */
  get(id: string, access: Access): BatchObject {
    return this.#view(this.#record(id, access))
  }

  /** Ends a batch; what it has by now is written to its files. @throws {ApiFailure} 404, 409 if it has ended */
  async cancel(id: string, access: Access): Promise<BatchObject> {
    const record = this.#record(id, access)
    const { batch } = record
    if (FINAL.includes(batch.status))
      throw new ApiFailure(409, `batch ${id} is ${batch.status} already`, { code: 'batch_ended' })
    if (batch.status !== 'cancelling') await this.#turn(record, 'cancelling')
    if (record.job !== null) await this.#parts.jobs.cancel(record.job)
    return this.#view(record)
  }

  /** Stops to look after batches; the next start goes on. */
  async close(): Promise<void> {
    this.#stopped.abort()
    await Promise.all(this.#running)
  }

  #record(id: string, access: Access): BatchRecord {
    const record = this.#records.get(id)
    if (!record || !mayUse(access, record.owner))
      throw new ApiFailure(404, `there is no batch ${id}`, { param: 'batch_id', code: 'batch_not_found' })
    return record
  }

  /** A batch as it stands now. */
  #view({ batch, job }: BatchRecord): BatchObject {
    if (FINAL.includes(batch.status) || job === null) return batch
    const { done, failed } = this.#parts.jobs.info(job)
    return { ...batch, request_counts: { ...batch.request_counts, completed: done, failed } }
  }

  #save(record: BatchRecord): Promise<void> {
    const write = () => writeJson(join(this.#parts.folder, `${record.batch.id}.json`), record)
    const saving = (this.#saving.get(record) ?? Promise.resolve()).then(write, write)
    this.#saving.set(record, saving)
    return saving
  }

  async #turn(record: BatchRecord, status: State): Promise<void> {
    const time = `${status}_at`
    record.batch = { ...record.batch, status, ...(time in record.batch && { [time]: secondsNow() }) }
    await this.#save(record)
  }

  #begin(record: BatchRecord): void {
    const running = this.#run(record)
      .catch((error: unknown) => this.#fail(record, error))
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  async #fail(record: BatchRecord, error: unknown): Promise<void> {
    if (this.#stopped.signal.aborted) return
    if (!(error instanceof Error)) throw error
    this.#parts.log.error({ err: error, batch: record.batch.id }, 'a batch has failed')
    const message =
      error instanceof RequestError || error instanceof ApiFailure ? error.message : 'the manager failed'
    await this.#refuse(record, [{ code: 'batch_failed', message, param: null, line: 1 }])
  }

  async #refuse(record: BatchRecord, errors: LineError[]): Promise<void> {
    record.batch = { ...record.batch, errors: { object: 'list', data: errors } }
    await this.#turn(record, 'failed')
  }

  /** Takes a batch from wherever it is to its end. */
  async #run(record: BatchRecord): Promise<void> {
    try {
      if (record.batch.status === 'validating' && !(await this.#validate(record))) return
      if (record.batch.status === 'in_progress') await this.#submit(record)
    } catch (error) {
      // One that is cancelled meanwhile has a job that takes no more tasks, and perhaps no file any more.
      if (record.batch.status !== 'cancelling') throw error
    }
    await this.#await(record)
    if (!this.#stopped.signal.aborted) await this.#finish(record)
  }

  /** Whether the batch can be run. */
  async #validate(record: BatchRecord): Promise<boolean> {
    const { files, contexts, jobs } = this.#parts
    const { endpoint, input_file_id } = record.batch
    const { requests, model, errors } = await checkLines(
      readRequests(files.read(input_file_id)),
      endpoint,
      ({ model, ...rest }) => {
        requireModel({ ...(record.models && { models: record.models }), readOnly: false }, model)
        const { speaks } = functionFor(contexts.named(model), endpoint)
        taskInput(speaks, endpoint, { model, ...rest })
      },
    )
    if (errors.length > 0) {
      await this.#refuse(record, errors)
      return false
    }
    // Cancelled meanwhile.
    if (record.batch.status !== 'validating') return true
    const context = contexts.named(model!)
    const route = functionFor(context, endpoint)
    const name = record.batch.id
    const options = JobOptions.parse({ retries: 2 })
    const job = await jobs.create({ name, context: context.name, function: route.function, options })
    record.job = job.id
    record.model = context.name
    record.batch = { ...record.batch, request_counts: { total: requests, completed: 0, failed: 0 } }
    if (record.batch.status === 'cancelling') await jobs.cancel(job.id)
    else await this.#turn(record, 'in_progress')
    return true
  }

  /** Hands in all requests; those that the job has already, from an earlier start, change nothing. */
  async #submit({ batch, job, model }: BatchRecord): Promise<void> {
    const { files, contexts, jobs } = this.#parts
    if (jobs.info(job!).state !== 'open') return
    const context = contexts.named(model!)
    const { speaks } = functionFor(context, batch.endpoint)
    let tasks: { key: string; input: JsonText }[] = []
    const flush = async () => {
      await jobs.addTasks(job!, tasks)
      tasks = []
    }
    for await (const { request } of readRequests(files.read(batch.input_file_id))) {
      this.#stopped.signal.throwIfAborted()
      if ('problem' in request)
        throw new ApiFailure(409, 'the input file has changed since it was looked through')
      tasks.push({ key: request.custom_id, input: taskInput(speaks, batch.endpoint, request.body) })
      if (tasks.length === TASKS_AT_ONCE) await flush()
    }
    if (tasks.length > 0) await flush()
    await jobs.close(job!)
  }

  /** Resolves when the job has ended, was cancelled, or is out of time. */
  async #await(record: BatchRecord): Promise<void> {
    const { jobs } = this.#parts
    const { signal } = this.#stopped
    if (record.job === null) return
    for (let after = 0; !signal.aborted && jobs.info(record.job).state === 'open';) {
      if (secondsNow() >= record.batch.expires_at!) {
        record.batch = { ...record.batch, expired_at: secondsNow() }
        await jobs.cancel(record.job)
        return
      }
      const { results } = await jobs.results(record.job, { after }, RESULTS_AT_ONCE, LOOK_MS, signal)
      after = results.at(-1)?.cursor ?? after
    }
  }

  async #finish(record: BatchRecord): Promise<void> {
    const { files } = this.#parts
    const end: State =
      record.batch.expired_at !== null
        ? 'expired'
        : record.batch.status === 'cancelling'
          ? 'cancelled'
          : 'completed'
    if (record.job !== null) {
      if (record.batch.status === 'in_progress') await this.#turn(record, 'finalizing')
      const counts = { total: record.batch.request_counts.total, completed: 0, failed: 0 }
      const write = async (which: 'done' | 'failed', filename: string) => {
        const lines = this.#lines(record, which, () => counts[which === 'done' ? 'completed' : 'failed']++)
        const file = await files.add(lines, {
          filename,
          purpose: 'batch_output',
          owner: record.owner,
        })
        if (file.bytes > 0) return file.id
        await files.remove(file.id)
        return null
      }
      const output = await write('done', `${record.batch.id}_output.jsonl`)
      const error = await write('failed', `${record.batch.id}_error.jsonl`)
      record.batch = { ...record.batch, output_file_id: output, error_file_id: error, request_counts: counts }
    }
    await this.#turn(record, end)
  }

  /** The results that a file gets, a line each. */
  async *#lines(record: BatchRecord, which: 'done' | 'failed', count: () => void): AsyncGenerator<string> {
    const { jobs } = this.#parts
    const named = { model: record.model!, created: secondsNow() }
    const { speaks } = functionFor(
      this.#parts.contexts.byId(jobs.contextOf(record.job!)),
      record.batch.endpoint,
    )
    const never = new AbortController().signal
    for (let after = 0; ;) {
      const { results } = await jobs.results(record.job!, { after }, RESULTS_AT_ONCE, 0, never)
      if (results.length === 0) return
      for (const row of results) {
        after = row.cursor
        const line =
          row.status === 'done'
            ? resultLine(row.key, row.value, { speaks, endpoint: record.batch.endpoint, named })
            : errorLine(row.key, row.error)
        if (line.isError !== (which === 'failed')) continue
        count()
        yield line.text
      }
    }
  }
}
