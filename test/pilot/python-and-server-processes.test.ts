import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import {
  startLibrarySession,
  type LibrarySession,
  type LibrarySessionOptions,
} from '../../src/pilot/library/library-session.ts'
import type { JsonValue } from '../../src/protocol/primitives.ts'
import { LibrarySpec } from '../../src/protocol/contexts/context.ts'
import type { Lease } from '../../src/protocol/task.ts'
import { until } from '../support/until.ts'
import { isAlive } from './support/pilot-process.ts'
import { withoutBlobs } from './support/no-blobs.ts'
import { feedLibrary } from './support/task-feeder.ts'

const time = { timeout: 180_000 }
const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const CONTEXT = 'c'.repeat(64)
const MIB = 2 ** 20
const CODE = fileURLToPath(new URL('bundles', import.meta.url))

/** Both kinds hold their context in a process of their own, and answer the same calls. */
const KINDS: Record<string, unknown> = {
  python: {
    library: 'python',
    setup: { bundle: 'code', file: 'worker.py' },
    functions: { run: { call: 'run' } },
  },
  server: {
    library: 'server',
    setup: {
      command: ['python3', '-B', '{{ bundles.code }}/server.py', '{{ port }}'],
      healthy: '/',
      concurrency: 1,
    },
    functions: { run: { path: '/', result: '{{ value }}' } },
  },
}

/** A real library, fed with these inputs under one lease. */
async function begin(
  kind: string,
  inputs: JsonValue[],
  options: Partial<LibrarySessionOptions & Lease> = {},
) {
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-kinds-'))
  const { timeLimitMs = 60_000, ...rest } = options
  const tasks = inputs.map((input, i) => ({ task: i + 1, input }))
  const lease = { lease: 1, context: CONTEXT, function: 'run', tasks, timeLimitMs }
  const { taskQueue, note } = feedLibrary(CONTEXT, [lease], 1, () => session)
  const session: LibrarySession = startLibrarySession({
    setup: {
      type: 'setup',
      context: {
        id: CONTEXT,
        name: 'test',
        bundles: { code: 'b'.repeat(64) },
        spec: LibrarySpec.parse(KINDS[kind]),
      },
      bundles: { code: CODE },
      blobs: '/nowhere',
      threads: 1,
      gpus: { count: 0, memory: 0, hasOthers: false },
      device: 'cpu',
    },
    env: {},
    folder,
    memoryLimit: 2048 * MIB,
    log,
    ...withoutBlobs,
    setupLimitMs: 30_000,
    evicted: new AbortController().signal,
    devices: () => Promise.resolve(new Map()),
    onEvent: note,
    ...rest,
  })
  return {
    session,
    outcomes: () => taskQueue.results.map(({ result }) => result.outcome),
    async [Symbol.asyncDispose]() {
      session.stop()
      await session.over
      await rm(folder, { recursive: true, force: true })
    },
  }
}

for (const kind of Object.keys(KINDS)) {
  describe(`a worker's ${kind} library`, () => {
    // A server's request can be ended alone.
    if (kind !== 'server')
      test('is ended with all it started when a call meets its time limit', time, async () => {
        await using stage = await begin(kind, ['pid', 'hang'], { timeLimitMs: 500 })
        const end = await stage.session.over
        assert.ok(end.how === 'died' && end.error.name === 'TimeLimit')
        const [pid, hung] = stage.outcomes()
        assert.ok(pid?.status === 'done' && hung?.status === 'crash')
        assert.match(hung.error.message, /still running after 500 ms/)
        await until(() => !isAlive(Number(pid.value)))
      })

    test('is let go between calls when what it started has outgrown the memory', time, async () => {
      await using stage = await begin(kind, ['grow'], { memoryLimit: 350 * MIB })
      const end = await stage.session.over
      assert.ok(end.how === 'died' && !end.idle)
      assert.match(end.error.message, /used \d+ MiB of 350/)
      assert.deepEqual(stage.outcomes(), [{ status: 'done', value: 'grown' }])
    })

    test('that is killed is a crash of the call it ran', time, async () => {
      await using stage = await begin(kind, ['die'])
      const end = await stage.session.over
      assert.ok(end.how === 'died')
      assert.match(end.error.message, /its library was killed by SIGKILL/)
      assert.equal(stage.outcomes()[0]?.status, 'crash')
    })

    test('is gone when it is told to go', time, async () => {
      await using stage = await begin(kind, ['pid'])
      await until(() => stage.outcomes().length === 1)
      stage.session.retire()
      assert.equal((await stage.session.over).how, 'retired')
      const [pid] = stage.outcomes()
      assert.ok(pid?.status === 'done')
      assert.ok(!isAlive(Number(pid.value)))
    })
  })
}

describe("a worker's server library", () => {
  test('goes on when a call meets its time limit: only that request is ended', time, async () => {
    await using stage = await begin('server', ['pid', 'hang'], { timeLimitMs: 500 })
    await until(() => stage.outcomes().length === 2)
    const [pid, hung] = stage.outcomes()
    assert.ok(pid?.status === 'done' && hung?.status === 'crash')
    assert.match(hung.error.message, /still running after 500 ms/)
    assert.ok(isAlive(Number(pid.value)))
    stage.session.retire()
    assert.equal((await stage.session.over).how, 'retired')
  })
})
