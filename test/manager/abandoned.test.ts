import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { pino } from 'pino'
import { openStore, type Store } from '../../src/bundle/store.ts'
import { Blobs } from '../../src/manager/blobs.ts'
import { Contexts } from '../../src/manager/contexts.ts'
import { Dispatcher } from '../../src/manager/dispatcher.ts'
import { Jobs } from '../../src/manager/jobs.ts'
import { Ledger } from '../../src/manager/ledger.ts'
import { JobOptions } from '../../src/protocol/client.ts'
import { CONTEXT } from '../support/manager.ts'

const log = pino({ level: 'silent' })

describe('a job that is to be given up with its client', () => {
  let folder: string
  let ledger: Ledger
  let store: Store
  let dispatcher: Dispatcher
  let jobs: Jobs
  let now: number

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gleaner-jobs-'))
    now = 1_000_000
    ledger = new Ledger(join(folder, 'ledger.db'), log)
    store = await openStore({ folder: join(folder, 'store'), log })
    await ledger.addContext(CONTEXT, 1)
    await open()
  })

  afterEach(async () => {
    dispatcher.close()
    await store[Symbol.asyncDispose]()
    await ledger.close()
    rmSync(folder, { recursive: true })
  })

  /** As at a start of the manager. */
  async function open() {
    dispatcher = new Dispatcher(ledger, log, {}, () => now)
    const blobs = await Blobs.open({
      ledger,
      folder: join(folder, 'blobs'),
      maxBytes: 1,
      now: () => now,
      log,
    })
    jobs = new Jobs(ledger, dispatcher, new Contexts(ledger, store, dispatcher), blobs, () => {})
  }

  async function make(options: Partial<JobOptions>, tasks: number): Promise<number> {
    const { id } = await jobs.create({ name: 'job', context: 'ctx', options: JobOptions.parse(options) })
    await jobs.addTasks(
      id,
      Array.from({ length: tasks }, (_, i) => ({ key: `${i}`, input: i })),
    )
    return id
  }

  /** The job's state, once this much time has passed. */
  async function stateAfter(id: number, ms: number) {
    now += ms
    await jobs.sweep()
    return jobs.info(id).state
  }

  test('stays while it is heard of, and is cancelled when it is not', async () => {
    const id = await make({ abandonMs: 100 }, 3)
    assert.equal(await stateAfter(id, 99), 'open')
    await jobs.results(id, 0, 10, 0, new AbortController().signal)
    assert.equal(await stateAfter(id, 99), 'open')
    assert.equal(await stateAfter(id, 1), 'cancelled')
    assert.equal(dispatcher.state.jobs.size, 0)
  })

  test('is closed if it has nothing to run, so that its client may come back', async () => {
    const id = await make({ abandonMs: 100 }, 0)
    assert.equal(await stateAfter(id, 100), 'finished')
    assert.deepEqual(await jobs.addTasks(id, [{ key: 'late', input: 1 }]), { added: 1, known: 0 })
    assert.equal(jobs.info(id).state, 'open')
  })

  test('has its time again when the manager was away', async () => {
    const id = await make({ abandonMs: 100 }, 1)
    dispatcher.close()
    now += 1_000
    await open()
    assert.equal(await stateAfter(id, 99), 'open')
    assert.equal(await stateAfter(id, 1), 'cancelled')
  })

  test('is another one than those that stay until somebody ends them', async () => {
    assert.equal(await stateAfter(await make({}, 1), 1e12), 'open')
  })
})
