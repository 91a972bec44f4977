import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pino } from 'pino'
import { connect } from '../../../../src/client/index.ts'
import { Ledger } from '../../../../src/manager/ledger/ledger.ts'
import type { StoredRows } from '../../../../src/manager/ledger/result-store.ts'
import { newTrace } from '../../../../src/manager/services/jobs/new-trace.ts'
import { JobOptions } from '../../../../src/protocol/client.ts'
import { parseExactly, stringifyExactly } from '../../../../src/protocol/json/exact-numbers.ts'
import { CONTEXT, HttpWorker, makeState, removeState, startOn } from '../../../support/manager.ts'

describe('the rows of a job', () => {
  test('are its tasks in the order in which they were added, with inputs and what results there are', async () => {
    const state = await makeState()
    const manager = await startOn(state)
    await using client = connect({ state })
    try {
      const other = await client.createJob({ name: 'other', context: CONTEXT.name })
      const job = await client.createJob({ name: 'rows', context: CONTEXT.name })
      const large = parseExactly('{"n":12345678901234567890}')
      await job.add([
        { key: '2', numeric: true, input: large },
        { key: 'b', input: 'second' },
      ])
      const worker = await HttpWorker.register(manager)
      await worker.workUntilIdle()
      await other.add([{ key: 'a', input: 'of another job' }])
      await job.add([{ key: 'a', input: 'third' }])

      const rows = await Array.fromAsync(job.rows())
      assert.deepEqual(
        rows.map(({ key, numeric, result }) => [key, numeric, result?.status]),
        [
          ['2', true, 'done'],
          ['b', undefined, 'done'],
          ['a', undefined, undefined],
        ],
      )
      assert.equal(stringifyExactly(rows[0]!.input), '{"n":12345678901234567890}')
      assert.equal(stringifyExactly(rows[0]!.result?.value), '{"n":12345678901234567890}')

      const found = await job.findResults(['a', 'nobody', 'b'])
      assert.deepEqual(
        found.map(({ key, input, result }) => [key, input, result?.value]),
        [
          ['a', undefined, undefined],
          ['b', undefined, 'second'],
        ],
      )
      const pages = job.pages({ values: false, waitMs: 0 })
      const { value } = await pages.next()
      assert.deepEqual(
        value?.results.map(({ key, value }) => [key, value]),
        [
          ['2', undefined],
          ['b', undefined],
        ],
      )
    } finally {
      await manager.close()
      await removeState(state)
    }
  })

  test('are read a page at a time: so many, or so many characters of them', async () => {
    const state = await makeState()
    const ledger = new Ledger(join(state, 'ledger.db'), pino({ level: 'silent' }))
    try {
      const job = {
        context: CONTEXT.id,
        function: 'f',
        options: JobOptions.parse({}),
        createdAt: 1,
        ...newTrace(''),
      }
      const [{ id }, other] = [
        await ledger.jobs.add({ ...job, name: 'long' }),
        await ledger.jobs.add({ ...job, name: 'other' }),
      ]
      const keys = ['c', 'b', 'a', 'd']
      for (const key of keys) {
        await ledger.tasks.add(id, [{ key, input: '"0123456789"' }])
        await ledger.tasks.add(other.id, [{ key, input: '1' }])
      }
      const read = (limit: number, length: number) => {
        const pages: string[] = []
        for (let after: number | undefined = 0; after !== undefined;) {
          const page: StoredRows = ledger.results.rows(id, after, limit, length)
          pages.push(page.rows.map(({ key }) => key).join(''))
          after = page.next
        }
        return pages
      }
      assert.deepEqual(read(100, 30), ['cb', 'ad'])
      assert.deepEqual(read(3, 1000), ['cba', 'd'])
      assert.deepEqual(read(100, 1), ['c', 'b', 'a', 'd'])
      const { rows, looked } = ledger.results.rowsOf(id, ['x', 'a', 'b', 'c'], { maxLength: 30 })
      assert.deepEqual([rows.map(({ key }) => key), looked], [['a', 'b'], 3])
    } finally {
      await ledger.close()
      await removeState(state)
    }
  })
})
