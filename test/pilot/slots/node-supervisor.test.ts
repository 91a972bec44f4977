import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import type { Lease } from '../../../src/protocol/task.ts'
import { createNodeSupervisor } from '../../../src/pilot/slots/node-supervisor.ts'
import { levelOf } from '../../../src/pilot/contexts/context-state.ts'
import { queuedIn, unfinishedInAll } from '../../../src/pilot/tasks/task-queue.ts'
import { until } from '../../support/until.ts'
import { withoutBlobs } from '../support/no-blobs.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const MIB = 2 ** 20
const NOTHING = { leases: [], cancel: [], revoke: [], warm: [], ahead: [], discard: [], again: [] }
const SLEEP = 'export const run = (ms) => new Promise((done) => setTimeout(done, ms, ms))'
/** Ends once the file that is its input is there. */
const MARK = `
  import { existsSync } from 'node:fs'
  export const run = (file) => new Promise((done) => {
    const timer = setInterval(() => {
      if (!existsSync(file)) return
      clearInterval(timer)
      done(file)
    }, 10)
  })`
/** Grows by 345 MiB once a file is there. */
const GROWS = `
  import { existsSync } from 'node:fs'
  let held
  setInterval(() => {
    if (!held && existsSync(new URL('grow', import.meta.url))) held = Buffer.alloc(345 << 20, 1)
  }, 10)
  export const run = () => held.length`
/** Takes 60 MiB more, so that it does not fit beside what grows. */
const HEAVY_MARK = `${MARK}
  const held = Buffer.alloc(60 << 20, 1)
  export const size = () => held.length`
/** Fails unless a file is there. */
const PICKY = `
  import { existsSync } from 'node:fs'
  if (!existsSync(new URL('mended', import.meta.url))) throw new Error('not yet')
  export const run = () => 1`

/** A node supervisor with one slot, and contexts of modules by a letter; their files come from a folder of the test. */
async function assemble(sources: Record<string, string>, { memory = 2048 * MIB, bytes = 0 } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-node-'))
  const fetched: string[] = []
  const idOf = (letter: string) => letter.repeat(64)
  for (const [letter, source] of Object.entries(sources)) {
    await mkdir(path.join(folder, letter))
    await writeFile(path.join(folder, letter, 'index.mjs'), source)
  }
  const supervisor = createNodeSupervisor({
    blobs: withoutBlobs.blobs,
    partSender: withoutBlobs.partSender,
    slots: [
      {
        slot: { device: 'cpu', cpus: 1, memory },
        gpus: { count: 0, memory: 0, hasOthers: false },
        env: {},
        memoryLimit: memory,
        deviceLimit: Infinity,
      },
    ],
    scratch: path.join(folder, 'scratch'),
    setupLimitMs: 30_000,
    evicted: new AbortController().signal,
    contextMode: 'pervasive',
    devices: () => Promise.resolve(new Map()),
    log,
    onUnreported: () => {},
    onProgress: () => {},
    fetch: (id) => {
      fetched.push(id.charAt(0))
      return Promise.resolve({
        spec: {
          id,
          name: id.charAt(0),
          bundles: { code: 'b'.repeat(64) },
          spec: {
            library: 'module' as const,
            setup: { bundle: 'code', file: 'index.mjs', args: [] },
            functions: { run: { export: 'run' } },
          },
        },
        folders: { code: path.join(folder, id.charAt(0)) },
        bytes,
        discard: () => Promise.resolve(),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    },
  })
  const level = (letter: string) => levelOf(supervisor.heldContexts.state(idOf(letter)))
  return {
    supervisor,
    tasks: supervisor.tasks,
    folder,
    fetched,
    idOf,
    level,
    /** Answers as the manager would: leases tasks with these inputs. */
    lease(letter: string, inputs: Lease['tasks'][number]['input'][], warm = [letter], first = 1) {
      const tasks = inputs.map((input, i) => ({ task: first + i, input }))
      const lease = { lease: first, context: idOf(letter), function: 'run', tasks }
      supervisor.take({ ...NOTHING, warm: warm.map(idOf), leases: [lease] })
    },
    warm: (...letters: string[]) => supervisor.take({ ...NOTHING, warm: letters.map(idOf) }),
    results: () =>
      supervisor.tasks.results.map(({ result }) => [result.task, result.outcome.status] as const),
    async [Symbol.asyncDispose]() {
      await supervisor.stop()
      await supervisor.heldContexts.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

describe('the supervisor of a node', () => {
  test('gives a slot to what is wanted now when the last task of what it worked for has ended', async () => {
    await using stage = await assemble({ a: MARK, c: MARK })
    const [mark, late] = ['mark', 'late'].map((name) => path.join(stage.folder, name))
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', [mark!, mark!])
    stage.lease('c', [late!], ['c'], 3)
    await until(() => stage.level('c') === 'memory')
    await writeFile(late!, '')
    assert.deepEqual(stage.results(), [], 'it waits for its turn, though it could end at once')
    await writeFile(mark!, '')
    await until(() => stage.results().length === 3)
    assert.deepEqual(stage.results(), [
      [1, 'done'],
      [2, 'done'],
      [3, 'done'],
    ])
    assert.deepEqual([stage.level('a'), stage.level('c')], ['memory', 'memory'])
  })

  test('loads nothing beside what has tasks if both do not fit', async () => {
    await using stage = await assemble({ a: MARK, c: MARK }, { memory: 300 * MIB, bytes: 260 * MIB })
    const mark = path.join(stage.folder, 'mark')
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', [mark])
    stage.lease('c', [mark], ['c'], 2)
    await until(() => stage.level('c') === 'disk')
    await writeFile(mark, '')
    await until(() => stage.results().length === 2)
    assert.deepEqual([stage.level('a'), stage.level('c')], ['disk', 'memory'])
    // Now it is known that they take less than their files.
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    assert.equal(stage.level('c'), 'memory')
  })

  test('drives out what rests before the context that has its turn, though that has had no call yet', async () => {
    await using stage = await assemble({ a: HEAVY_MARK, c: GROWS }, { memory: 400 * MIB })
    const mark = path.join(stage.folder, 'mark')
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', [mark])
    stage.warm('c')
    await until(() => stage.level('c') === 'memory')
    await writeFile(mark, '')
    await until(() => stage.results().length === 1)
    assert.equal(stage.level('a'), 'memory')
    await writeFile(path.join(stage.folder, 'c', 'grow'), '')
    await until(() => stage.level('a') === 'disk')
    assert.equal(stage.level('c'), 'memory')
  })

  test('hands tasks back whose context rests and is not wanted any more', async () => {
    await using stage = await assemble({ a: MARK, c: MARK })
    const mark = path.join(stage.folder, 'mark')
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', [mark])
    stage.lease('c', [mark], ['c'], 2)
    await until(() => stage.level('c') === 'memory')
    stage.warm('a')
    assert.deepEqual(stage.results(), [[2, 'returned']])
    await writeFile(mark, '')
    await until(() => stage.results().length === 2)
    assert.deepEqual(stage.results()[1], [1, 'done'])
  })

  test('hands tasks back whose context is not here and is not coming', async () => {
    await using stage = await assemble({ a: SLEEP })
    stage.lease('a', [1, 1], [])
    assert.deepEqual(stage.results(), [
      [1, 'returned'],
      [2, 'returned'],
    ])
  })

  test('hands tasks back when their context cannot be loaded', async () => {
    await using stage = await assemble({ a: PICKY })
    stage.lease('a', [1])
    await until(() => stage.results().length === 1)
    assert.deepEqual(stage.results(), [[1, 'returned']])
  })

  test('tries a context again when asked to, without fetching it again', async () => {
    await using stage = await assemble({ a: PICKY })
    stage.warm('a')
    const { idOf } = stage
    await until(() => stage.supervisor.heldContexts.state(idOf('a')).failure !== undefined)
    await writeFile(path.join(stage.folder, 'a', 'mended'), '')
    await until(() => {
      stage.warm('a')
      return stage.level('a') === 'memory'
    })
    assert.deepEqual(stage.fetched, ['a'])
    assert.equal(stage.supervisor.heldContexts.state(idOf('a')).attempts, 2)
  })

  test('forgets what has lapsed, also inside its libraries', async () => {
    await using stage = await assemble({ a: SLEEP })
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', [1_000_000, 1, 1, 1])
    await until(() => queuedIn(stage.tasks, stage.idOf('a')) === 2)
    stage.supervisor.take({ ...NOTHING, warm: [stage.idOf('a')], revoke: [1] })
    // Two are inside the library, of which one may have begun.
    assert.ok(unfinishedInAll(stage.tasks) <= 1, `${unfinishedInAll(stage.tasks)} are left`)
    assert.equal(stage.tasks.open.size, 0)
  })

  test('told that the time is short, keeps as much as can end and hands back the rest', async () => {
    await using stage = await assemble({ a: SLEEP })
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.lease('a', Array<number>(10).fill(20))
    await until(() => stage.results().length === 10)
    stage.lease('a', Array<number>(100).fill(20), ['a'], 100)
    stage.supervisor.windDown(400)
    const returned = stage.results().filter(([, status]) => status === 'returned').length
    assert.ok(returned >= 80 && returned < 100, `${returned} of 100 handed back, with time for 20`)
    await until(() => unfinishedInAll(stage.tasks) === 0)
    assert.equal(stage.results().filter(([, status]) => status === 'done').length, 110 - returned)
  })

  test('on its way out takes up nothing new', async () => {
    await using stage = await assemble({ a: SLEEP, c: SLEEP })
    stage.warm('a')
    await until(() => stage.level('a') === 'memory')
    stage.supervisor.windDown(undefined)
    stage.lease('a', [1], ['a', 'c'])
    assert.equal(unfinishedInAll(stage.tasks), 0)
    assert.equal(stage.tasks.open.size, 0, 'the lease is not named, which gives it back')
    assert.deepEqual(stage.fetched, ['a'])
    assert.deepEqual(stage.supervisor.wants(1_000, undefined), [])
  })
})
