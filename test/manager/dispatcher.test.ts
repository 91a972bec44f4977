import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import { addJob, addTasks } from '../../src/core/scheduler.ts'
import { Dispatcher } from '../../src/manager/dispatcher.ts'
import { Ledger } from '../../src/manager/ledger.ts'
import { JobOptions } from '../../src/protocol/client.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../src/protocol/worker.ts'
import { CONTEXT } from '../support/manager.ts'
import { until } from '../support/until.ts'

const log = pino({ level: 'silent' })
const node = { node: 'n1', slots: 1 }

let folder: string
let ledger: Ledger
let dispatcher: Dispatcher
/** By how much the clock has gone on without the process. */
let skippedMs: number

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gleaner-dispatcher-'))
  ledger = new Ledger(join(folder, 'ledger.db'), log)
  skippedMs = 0
  dispatcher = new Dispatcher(ledger, log, {}, () => Date.now() + skippedMs)
  await ledger.addContext(CONTEXT, 1)
  const spec = { name: 'job', context: CONTEXT.id, function: 'f' }
  const job = await ledger.addJob({ ...spec, options: JobOptions.parse({}), createdAt: 1 })
  addJob(dispatcher.state, { ...spec, id: job.id, priority: 0, retries: 0 })
  const { start, end } = await ledger.addTasks(job.id, [
    { key: 'a', input: '1' },
    { key: 'b', input: '2' },
  ])
  dispatcher.apply(addTasks(dispatcher.state, job.id, start, end, dispatcher.now))
})

afterEach(async () => {
  dispatcher.close()
  await ledger.close()
  rmSync(folder, { recursive: true })
})

async function exchange(id: string, fields: Partial<ExchangeRequest>): Promise<ExchangeResponse> {
  const answer = await dispatcher.exchange(
    { ...node, id },
    {
      seq: 0,
      results: [],
      leases: [],
      contexts: [{ context: CONTEXT.id, level: 'memory', attempts: 1 }],
      want: [],
      rate: 1,
      waitMs: 0,
      ...fields,
    },
  )
  return JSON.parse(answer) as ExchangeResponse
}

/** Until it is called, every write finds the disk full, as SQLite reports a database at its page limit. */
function fillDisk(): () => void {
  ledger.db.exec('PRAGMA max_page_count = 1')
  return () => ledger.db.exec('PRAGMA max_page_count = 1000000')
}

test('a worker is not given up for silence in which the manager itself did not run', async () => {
  await exchange('w1', {})
  const heardAt = dispatcher.state.workers.get('w1')!.heardAt
  skippedMs = 3_600_000
  await until(() => dispatcher.state.workers.get('w1')?.heardAt !== heardAt)
  assert.deepEqual([...dispatcher.state.workers.keys()], ['w1'])
})

test('no result is acknowledged before it is on disk, whatever becomes of the worker that reported it', async () => {
  const want = [{ context: CONTEXT.id, tasks: 1 }]
  const { leases } = await exchange('w1', { want })
  const { lease, tasks } = leases[0]!
  const { task } = tasks[0]!
  const report = (value: string) => ({
    results: [{ task, lease, outcome: { status: 'done' as const, value }, ms: 1 }],
  })

  const makeRoom = fillDisk()
  const answers: string[] = []
  const note = (who: string) => () => void answers.push(who)
  const filler = 'x'.repeat(1 << 20)
  const first = exchange('w1', { seq: 1, ...report(filler) }).then(note('first'))
  await until(() => ledger.commits.trouble !== undefined)
  // It is given up, comes back and says it again; and another one says the same.
  dispatcher.lost('w1')
  const again = exchange('w1', { seq: 1, ...report(filler) }).then(note('again'))
  const other = exchange('w2', report('duplicate')).then(note('other'))
  await exchange('w3', {})
  assert.deepEqual(answers, [])

  makeRoom()
  await Promise.all([first, again, other])
  assert.equal(ledger.results(1, 0, 10).length, 1)
  assert.equal(dispatcher.state.counts.duplicates, 2)
})
