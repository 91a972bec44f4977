import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { JobOptions } from '../../../src/protocol/client.ts'
import { JsonText } from '../../../src/protocol/json/json-text.ts'
import type { ExchangeRequest, ExchangeResponse } from '../../../src/protocol/worker.ts'
import { CONTEXT } from '../../support/manager.ts'
import { openParts, type Parts } from '../../support/manager-parts.ts'
import { until } from '../../support/until.ts'

const node = { node: 'n1', slots: 1 }

let here: Parts

beforeEach(async () => {
  here = await openParts()
  const { id } = await here.jobs.create({ name: 'job', context: 'ctx', options: JobOptions.parse({}) })
  await here.jobs.addTasks(id, [
    { key: 'a', input: new JsonText('1') },
    { key: 'b', input: new JsonText('2') },
  ])
})

afterEach(() => here[Symbol.asyncDispose]())

async function exchange(id: string, fields: Partial<ExchangeRequest>): Promise<ExchangeResponse> {
  const answer = await here.dispatcher.exchange(
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
  here.ledger.db.exec('PRAGMA max_page_count = 1')
  return () => here.ledger.db.exec('PRAGMA max_page_count = 1000000')
}

test('a worker is not given up for silence in which the manager itself did not run', async () => {
  await exchange('w1', {})
  const heardAt = here.dispatcher.view.worker('w1')!.heardAt
  here.pass(3_600_000)
  await until(() => here.dispatcher.view.worker('w1')?.heardAt !== heardAt)
  assert.ok(here.dispatcher.view.hasWorker('w1'))
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
  await until(() => here.ledger.commits.trouble !== undefined)
  // It is given up, comes back and says it again; and another one says the same.
  here.dispatcher.lost('w1')
  const again = exchange('w1', { seq: 1, ...report(filler) }).then(note('again'))
  const other = exchange('w2', report('duplicate')).then(note('other'))
  await exchange('w3', {})
  assert.deepEqual(answers, [])

  makeRoom()
  await Promise.all([first, again, other])
  assert.equal(here.ledger.results.page(1, 0, 10).length, 1)
  assert.equal(here.dispatcher.view.counts.duplicates, 2)
})
