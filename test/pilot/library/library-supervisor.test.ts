import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { familyOf } from '../../../src/common/processes/process-family.ts'
import { superviseLibrary } from '../../../src/pilot/library/library-supervisor.ts'
import { LibrarySpec } from '../../../src/protocol/contexts/context.ts'
import { until } from '../../support/until.ts'
import { withoutBlobs } from '../support/no-blobs.ts'

const model = fileURLToPath(new URL('../../fixtures/models/grouped-query', import.meta.url))

test('a model whose library the system has killed for want of memory is held by one of half its batches', async () => {
  await using closing = new AsyncDisposableStack()
  const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-supervisor-'))
  closing.defer(() => rm(folder, { recursive: true, force: true }))
  const logged: string[] = []
  let loaded = 0
  const spec = LibrarySpec.parse({
    library: 'causal-lm',
    setup: { model: 'model', maxBatch: 32 },
    functions: { go: { maxNewTokens: 3 } },
  })
  const context = { id: 'c'.repeat(64), name: 'test', bundles: { model: 'b'.repeat(64) }, spec }
  const supervisor = superviseLibrary({
    slot: 0,
    context: { spec: context, folders: { model }, bytes: 0 },
    threads: 1,
    gpus: { count: 0, memory: 0, hasOthers: false },
    device: 'cpu',
    need: { memory: 0, device: 0 },
    oneTask: false,
    env: {},
    folder: path.join(folder, 'library'),
    memoryLimit: 2 ** 31,
    log: pino({ level: 'warn' }, { write: (line: string) => logged.push(line) }),
    ...withoutBlobs,
    setupLimitMs: 600_000,
    evicted: new AbortController().signal,
    devices: () => Promise.resolve(new Map()),
    onEvent: ({ type }) => (loaded += type === 'loaded' ? 1 : 0),
  })
  for (const lives of [1, 2, 3]) {
    await until(() => loaded === lives)
    if (lives === 3) break
    const libraries = (await familyOf(process.pid)).filter((pid) => pid !== process.pid)
    process.kill(libraries[0]!, 'SIGKILL')
  }
  supervisor.stop()
  await supervisor.gone
  assert.doesNotMatch(logged[0]!, /at most/)
  assert.match(logged[1]!, /ran out of memory: batches have at most 16 rows now/)
})
