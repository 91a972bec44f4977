import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import type { Lease, Outcome } from '../../../src/protocol/task.ts'
import type { LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import type { TaskQueue } from '../../../src/pilot/tasks/task-queue.ts'
import {
  startLibrarySession,
  type LibrarySession,
  type LibrarySessionOptions,
} from '../../../src/pilot/library/library-session.ts'
import { until } from '../../support/until.ts'
import { withoutBlobs } from '../support/no-blobs.ts'
import { feedLibrary } from '../support/task-feeder.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
export const CONTEXT = 'c'.repeat(64)

type Functions = Extract<LibrarySpec, { library: 'module' }>['functions']

export interface Stage extends AsyncDisposable {
  taskQueue: TaskQueue
  session: LibrarySession
  /** Its folder, for what tasks leave behind. */
  folder: string
  ready: Promise<{ level: string; memory?: number | undefined }>
  /** Gives it the tasks that wait, as far as it has room. */
  feed(): void
  evict(): void
}

/** A real library that holds a module with this source, fed from a task queue with these leases. */
export async function begin(
  source: string,
  leases: Lease[] = [],
  {
    functions = { run: { export: 'run' } },
    call,
    window = 16,
    ...options
  }: Partial<LibrarySessionOptions> & { functions?: Functions; call?: string; window?: number } = {},
): Promise<Stage> {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-session-'))
  await writeFile(path.join(folder, 'index.mjs'), source)
  const { taskQueue, feed, note } = feedLibrary(CONTEXT, leases, window, () => session)
  const ready = Promise.withResolvers<{ level: string; memory?: number | undefined }>()
  const eviction = new AbortController()
  const setup = { bundle: 'code', file: 'index.mjs', args: [], ...(call !== undefined && { call }) }
  const bundles = { code: 'b'.repeat(64) }
  const session: LibrarySession = startLibrarySession({
    setup: {
      type: 'setup',
      context: { id: CONTEXT, name: 'test', bundles, spec: { library: 'module', setup, functions } },
      bundles: { code: folder },
      blobs: '/nowhere',
      threads: 1,
      gpus: { count: 0, memory: 0, hasOthers: false },
      device: 'cpu',
    },
    env: {},
    folder,
    memoryLimit: 2 ** 31,
    log,
    ...withoutBlobs,
    setupLimitMs: 30_000,
    evicted: eviction.signal,
    devices: () => Promise.resolve(new Map()),
    onEvent(event) {
      if (event.type === 'loaded') ready.resolve(event)
      note(event)
    },
    ...options,
  })
  return {
    taskQueue,
    session,
    folder,
    ready: ready.promise,
    feed,
    evict: () => eviction.abort(),
    async [Symbol.asyncDispose]() {
      session.stop()
      await session.over
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export function lease(tasks: unknown[], more: Partial<Lease> & { alone?: boolean } = {}): Lease {
  const { alone, ...rest } = more
  const inputs = tasks as Lease['tasks'][number]['input'][]
  return {
    lease: 1,
    context: CONTEXT,
    function: 'run',
    tasks: inputs.map((input, i) => ({ task: i + 1, input, ...(alone && { alone }) })),
    ...rest,
  }
}

/** A module whose function waits until the file that is its input is there, and leaves a mark for each run. */
export const WAIT_FOR_FILE = `
  import { appendFileSync, existsSync } from 'node:fs'
  export const run = (file) => new Promise((done) => {
    const timer = setInterval(() => {
      if (!existsSync(file)) return
      clearInterval(timer)
      appendFileSync(file + '.runs', 'x')
      done('ran')
    }, 10)
  })`

/** The outcome of each task that has one. */
export function outcomes({ taskQueue }: Stage): Map<number, Outcome> {
  return new Map(taskQueue.results.map(({ result }) => [result.task, result.outcome]))
}

export const logs = ({ taskQueue }: Stage) =>
  new Map(taskQueue.results.map(({ result }) => [result.task, result.log]))

export const ended = (stage: Stage, count: number) => until(() => stage.taskQueue.results.length >= count)
