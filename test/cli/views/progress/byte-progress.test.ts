import assert from 'node:assert/strict'
import { test } from 'node:test'
import { byteLine } from '../../../../src/cli/views/progress/byte-progress.ts'
import { warmthOf } from '../../../../src/cli/views/progress/context-fetch-progress.ts'
import type { Status } from '../../../../src/client/index.ts'

type Worker = Status['workers'][number]

const worker = (id: string, contexts: Worker['contexts']): Worker => ({
  ...{ id, site: 's', pilot: 'p', node: 'n', slots: 1, state: 'active', rate: 0, leased: 0 },
  contexts,
})

test('bytes on their way are shown with share, rate and the time that is left', () => {
  const line = byteLine({ done: 250e6, total: 1000e6, note: '1 of 4 workers ready' }, 50e6)
  assert.match(line, /^█{6}░{18} 25 % {2}250 MB of 1 GB {2}50 MB\/s {2}15 s left {2}1 of 4 workers ready$/)
  assert.equal(byteLine({ done: 0, total: undefined, note: 'packing' }, 0), 'packing')
  assert.match(byteLine({ done: 0, total: 0 }, 0), /100 %/)
})

test('a context is warm when all workers have its files, and not while there is none', () => {
  const half = worker('w1', [{ context: 'c', level: 'absent', bytesHeld: 5, bytesTotal: 10 }])
  const full = worker('w2', [{ context: 'c', level: 'disk', bytesTotal: 10 }])
  assert.deepEqual(warmthOf({ workers: [half, full] }, 'c'), {
    done: 15,
    total: 20,
    note: '1 of 2 workers ready',
    isWarm: false,
    failed: undefined,
  })
  assert.equal(warmthOf({ workers: [full] }, 'c').isWarm, true)
  assert.equal(warmthOf({ workers: [] }, 'c').isWarm, false)
  assert.equal(warmthOf({ workers: [{ ...half, state: 'draining' }, full] }, 'c').isWarm, true)
  const error = { name: 'Error', message: 'no room' }
  const broken = worker('w3', [{ context: 'c', level: 'absent', error }])
  assert.equal(warmthOf({ workers: [broken] }, 'c').failed, 'c failed on worker w3: no room')
})
