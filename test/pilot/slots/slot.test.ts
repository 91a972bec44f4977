import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import type { LibraryEvent, LoadingEvent } from '../../../src/pilot/library/library-event.ts'
import { unfinishedInAll } from '../../../src/pilot/tasks/task-queue.ts'
import { createSlot, type SlotRunner } from '../../../src/pilot/slots/slot.ts'
import { until } from '../../support/until.ts'
import { withoutBlobs } from '../support/no-blobs.ts'
import { feedLibrary } from '../support/task-feeder.ts'
import { childrenOf, isAlive } from '../support/pilot-process.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const CONTEXT = 'c'.repeat(64)

/** A slot with a context of a module with this source, and tasks in hand; `before` it is given the context it can be seen empty. */
async function occupy(
  source: string,
  inputs: string[] = [],
  before: (slot: SlotRunner) => Promise<void> = () => Promise.resolve(),
) {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-slot-'))
  await writeFile(path.join(folder, 'index.mjs'), source)
  const tasks = inputs.map((input, i) => ({ task: i + 1, input }))
  const lease = { lease: 1, context: CONTEXT, function: 'run', tasks }
  const { taskQueue, feed, note } = feedLibrary(CONTEXT, [lease], 4, () => slot.open)
  const events: LoadingEvent[] = []
  const slot: SlotRunner = createSlot({
    index: 0,
    plan: {
      slot: { device: 'cpu', cpus: 1, memory: 2 ** 31 },
      gpus: { count: 0, memory: 0, hasOthers: false },
      env: {},
      memoryLimit: 2 ** 31,
      deviceLimit: Infinity,
    },
    ...withoutBlobs,
    scratch: path.join(folder, 'scratch'),
    setupLimitMs: 30_000,
    evicted: new AbortController().signal,
    oneTask: false,
    devices: () => Promise.resolve(new Map()),
    isOwed: () => false,
    log,
    onEvent(_slot, _context, event) {
      if (isLoading(event)) events.push(event)
      note(event)
    },
  })
  await before(slot)
  slot.assign({
    spec: {
      id: CONTEXT,
      name: 'test',
      bundles: { code: 'b'.repeat(64) },
      spec: {
        library: 'module',
        setup: { bundle: 'code', file: 'index.mjs', args: [] },
        functions: { run: { export: 'run' } },
      },
    },
    folders: { code: folder },
    bytes: 0,
  })
  return {
    slot,
    feed,
    taskQueue,
    folder,
    /** What has happened to the context here. */
    happened: () => events.map(({ type }) => type),
    events,
    async [Symbol.asyncDispose]() {
      await slot.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const LOADING = ['fetching', 'loading', 'loaded', 'unloaded', 'failed']
const isLoading = (event: LibraryEvent): event is LoadingEvent => LOADING.includes(event.type)

/** The one process that an empty slot has. */
async function onlyChild(): Promise<number> {
  const [child, ...others] = await childrenOf(process.pid)
  assert.ok(child !== undefined && others.length === 0)
  return child
}

const PID = 'export const run = () => process.pid'

describe('a slot', () => {
  test('has a process that waits for its first context', async () => {
    let prestarted: number | undefined
    await using stage = await occupy(PID, ['a'], async () => void (prestarted = await onlyChild()))
    await until(() => unfinishedInAll(stage.taskQueue) === 0)
    assert.deepEqual(stage.taskQueue.results[0]?.result.outcome, { status: 'done', value: prestarted })
  })

  test('starts another process if the one that waited has ended', async () => {
    let prestarted: number | undefined
    await using stage = await occupy(PID, ['a'], async () => {
      prestarted = await onlyChild()
      process.kill(prestarted, 'SIGKILL')
      await until(async () => (await childrenOf(process.pid)).length === 0)
    })
    await until(() => unfinishedInAll(stage.taskQueue) === 0)
    const [ended] = stage.taskQueue.results
    assert.ok(ended?.result.outcome.status === 'done' && ended.result.outcome.value !== prestarted)
    assert.ok(!stage.happened().includes('unloaded'))
  })

  test('stopped before it had a context, leaves no process behind', async () => {
    let prestarted = 0
    await using _stage = await occupy(PID, [], async (slot) => {
      prestarted = await onlyChild()
      await slot.stop()
      await until(() => !isAlive(prestarted))
    })
    assert.ok(prestarted > 0)
  })

  test('starts a library that has died once more, and loses no task over it', async () => {
    await using stage = await occupy(
      `export async function run(x) { if (x === 'fatal') process.exit(1); return x }`,
      ['a', 'fatal', 'b', 'fatal', 'c', 'd'],
    )
    // Fed at any time, also between two libraries.
    const feeding = setInterval(() => stage.feed(), 5)
    await until(() => unfinishedInAll(stage.taskQueue) === 0)
    clearInterval(feeding)
    const ends = stage.taskQueue.results.map(({ result }) => [result.task, result.outcome.status] as const)
    assert.equal(new Set(ends.map(([task]) => task)).size, 6)
    assert.ok(ends.filter(([, status]) => status === 'crash').length >= 2)
    assert.ok(stage.happened().includes('unloaded'))
    assert.deepEqual([stage.slot.next, stage.slot.turn], [CONTEXT, CONTEXT])
  })

  test('gives up a library that keeps dying with nothing to blame', async () => {
    await using stage = await occupy(`setTimeout(() => process.exit(4), 50); export const run = () => 1`)
    await until(() => stage.happened().includes('failed'))
    assert.equal(stage.happened().filter((type) => type === 'loaded').length, 3)
    const failed = stage.events.at(-1)
    assert.ok(failed?.type === 'failed')
    assert.match(failed.error.message, /exited with code 4/)
    assert.deepEqual(stage.slot.contexts, [])
  })

  test('is empty once its context has left, whatever that was doing', async () => {
    await using loading = await occupy(`await new Promise(() => setInterval(() => {}, 1e6))`)
    await until(() => loading.happened().includes('loading'))
    loading.slot.release(CONTEXT)
    assert.equal(loading.slot.next, undefined)
    await until(() => loading.slot.contexts.length === 0)
    assert.equal(loading.happened().at(-1), 'unloaded')

    await using pausing = await occupy(`setTimeout(() => process.exit(4), 50); export const run = () => 1`)
    await until(() => pausing.happened().at(-1) === 'unloaded')
    pausing.slot.release(CONTEXT)
    await until(() => pausing.slot.contexts.length === 0)
    assert.ok(!pausing.happened().includes('failed'))
  })

  test('stopped, hands back what its library had', async () => {
    await using stage = await occupy(
      `export const run = () => new Promise(() => setInterval(() => {}, 1e6))`,
      ['a', 'b'],
    )
    await until(() => stage.happened().includes('loaded'))
    await stage.slot.stop()
    assert.deepEqual(stage.slot.contexts, [])
    assert.deepEqual(
      stage.taskQueue.results.map(({ result }) => result.outcome.status),
      ['returned', 'returned'],
    )
  })
})
