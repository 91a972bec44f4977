import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, describe, test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { jobsWithBlobs } from '../../../src/manager/ledger/blob-references.ts'
import { addContext } from '../../../src/manager/ledger/context-records.ts'
import { newTrace } from '../../../src/manager/services/jobs/new-trace.ts'
import { LedgerWriteError } from '../../../src/manager/ledger/committer.ts'
import {
  LedgerDamagedError,
  LedgerLockedError,
  LedgerVersionError,
  openDatabase,
} from '../../../src/manager/ledger/database.ts'
import { Ledger } from '../../../src/manager/ledger/ledger.ts'
import { migrations } from '../../../src/manager/ledger/migrations.ts'
import { JobOptions } from '../../../src/protocol/client.ts'
import type { TaskResult } from '../../../src/protocol/task.ts'
import { until } from '../../support/until.ts'

const log = pino({ level: 'silent' })
const folders: string[] = []

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-ledger-'))
  folders.push(folder)
  return folder
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

const context = {
  id: 'c'.repeat(64),
  name: 'ctx',
  bundles: {},
  spec: { library: 'module' as const, setup: { bundle: 'app', file: 'a.js', args: [] }, functions: {} },
}

async function withJob(ledger: Ledger, name = 'job', how = {}) {
  await addContext(ledger, context, 1)
  const options = JobOptions.parse({})
  return ledger.jobs.add(
    { name, context: context.id, function: 'f', options, createdAt: 1, ...newTrace(undefined) },
    how,
  )
}

function done(task: number, value: string | number): TaskResult {
  return { task, lease: 1, outcome: { status: 'done', value }, ms: 1 }
}

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({
    key: `k${from + i}`,
    input: JSON.stringify({ n: from + i }),
  }))

describe('the ledger', () => {
  test('gives a batch neighbouring numbers and leaves out keys the job has already', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    const first = await ledger.tasks.add(job.id, numbered(0, 5))
    assert.equal(first.end - first.start, 5)
    const second = await ledger.tasks.add(job.id, numbered(3, 8))
    assert.deepEqual([second.start, second.end - second.start, second.known], [first.end, 3, 2])
    assert.deepEqual(
      ledger.tasks.inputs([second.start + 2, second.start]).map(({ text }) => JSON.parse(text) as unknown),
      [{ n: 7 }, { n: 5 }],
    )
    await ledger.close()
  })

  test('keeps the first result of a task, in the order they came, over a restart', async () => {
    const file = join(tempFolder(), 'ledger.db')
    const before = new Ledger(file, log)
    const job = await withJob(before)
    const { start } = await before.tasks.add(job.id, numbered(0, 6))
    const give = (ledger: Ledger, task: number, value: string) =>
      ledger.results.add([{ job: job.id, result: done(start + task, value), worker: 'w1' }])
    await give(before, 4, 'first')
    await give(before, 4, 'second')
    await give(before, 1, 'first')
    await before.close()

    const after = new Ledger(file, log)
    await give(after, 1, 'third')
    await give(after, 2, 'first')
    assert.deepEqual(
      after.results.page(job.id, 0, 10).map(({ key, value }) => [key, value?.text]),
      [
        ['k4', '"first"'],
        ['k1', '"first"'],
        ['k2', '"first"'],
      ],
    )
    assert.deepEqual(
      [...after.tasks.unfinished(job.id)],
      [
        [start, start + 1],
        [start + 3, start + 4],
        [start + 5, start + 6],
      ],
    )
    assert.deepEqual(after.jobs.counts(job.id), { tasks: 6, done: 3, failed: 0, ms: 3 })
    const cursor = after.results.page(job.id, 0, 2).at(-1)!.cursor
    assert.deepEqual(
      after.results.page(job.id, cursor, 10).map(({ key }) => key),
      ['k2'],
    )
    await after.close()
  })

  test('forgets of a job also the blobs it kept, and what it printed, however many tasks it had', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    const kept = await withJob(ledger, 'kept')
    const blobs = JSON.stringify([{ sha256: 'b'.repeat(64), bytes: 1 }])
    const many = numbered(0, 12_000).map((task) => ({ ...task, blobs }))
    const { start } = await ledger.tasks.add(job.id, many)
    const mine = await ledger.tasks.add(kept.id, numbered(0, 1))
    const results = [
      { ...done(start, 1), log: 'said' },
      { ...done(mine.start, 2), log: 'said too' },
    ]
    await ledger.results.add(
      results.map((result) => ({ job: result.task === start ? job.id : kept.id, result, worker: 'w1' })),
    )
    await ledger.jobs.forget(job.id)
    assert.deepEqual(jobsWithBlobs(ledger), [])
    const left = (table: string) => ledger.db.prepare(`SELECT count(*) AS n FROM ${table}`).get()!.n
    assert.deepEqual(['jobs', 'tasks', 'results', 'logs'].map(left), [1, 1, 1, 1])
    await ledger.close()
  })

  test('is held by one process at a time', async () => {
    const file = join(tempFolder(), 'ledger.db')
    const ledger = new Ledger(file, log)
    assert.throws(() => new Ledger(file, log), LedgerLockedError)
    await ledger.close()
    await new Ledger(file, log).close()
  })

  test('of a newer version is refused and left as it is', async () => {
    const file = join(tempFolder(), 'ledger.db')
    await new Ledger(file, log).close()
    const db = new DatabaseSync(file)
    db.exec('PRAGMA user_version = 99')
    db.close()
    assert.throws(() => new Ledger(file, log), LedgerVersionError)
  })

  test('that is cut or overwritten is refused with its name and what to do, and left as it is', async () => {
    const file = join(tempFolder(), 'ledger.db')
    const ledger = new Ledger(file, log)
    await withJob(ledger)
    await ledger.close()
    const whole = readFileSync(file)
    const damages = [
      () => {
        truncateSync(file, 0)
        writeFileSync(`${file}-wal`, 'what was written last')
      },
      () => truncateSync(file, 100),
      () => truncateSync(file, 4096),
      () =>
        writeFileSync(
          file,
          'not a database at all, but text that is long enough for a header of one. '.repeat(3),
        ),
      () =>
        writeFileSync(file, Buffer.concat([whole.subarray(0, 100), Buffer.alloc(whole.length - 100, 0x55)])),
    ]
    for (const damage of damages) {
      writeFileSync(file, whole)
      rmSync(`${file}-wal`, { force: true })
      damage()
      const before = readFileSync(file)
      assert.throws(
        () => new Ledger(file, log),
        (error) => error instanceof LedgerDamagedError && error.message.startsWith(`${file} is damaged`),
      )
      assert.deepEqual(readFileSync(file), before)
    }
  })

  test('that is missing while its log is there is refused: what is in the log would be lost', () => {
    const file = join(tempFolder(), 'ledger.db')
    writeFileSync(`${file}-wal`, 'what was written last')
    assert.throws(() => new Ledger(file, log), LedgerDamagedError)
    assert.equal(readFileSync(`${file}-wal`, 'utf8'), 'what was written last')
  })

  test('of an older version is brought up to date with all that is in it', async () => {
    const file = join(tempFolder(), 'ledger.db')
    openDatabase(file, migrations.slice(0, 1)).close()
    const first = new Ledger(file, log)
    const job = await withJob(first)
    const { start } = await first.tasks.add(job.id, numbered(0, 3))
    await first.results.add([{ job: job.id, result: done(start, 'kept'), worker: 'w1' }])
    await first.close()

    const next = [...migrations, `ALTER TABLE results ADD COLUMN node TEXT NOT NULL DEFAULT 'unknown'`]
    for (let starts = 0; starts < 2; starts++) {
      const db = openDatabase(file, next)
      assert.equal(db.prepare('PRAGMA user_version').get()?.user_version, next.length)
      const rows = db.prepare('SELECT task, body, node FROM results').all()
      assert.deepEqual(
        rows.map((row) => ({ ...row })),
        [{ task: start, body: '"kept"', node: 'unknown' }],
      )
      db.close()
    }
    assert.throws(() => new Ledger(file, log), LedgerVersionError)
  })

  test('stays as it was if it cannot be brought up to date', async () => {
    const file = join(tempFolder(), 'ledger.db')
    const first = new Ledger(file, log)
    await withJob(first)
    await first.close()
    const broken = [...migrations, 'DROP TABLE results; CREATE NONSENSE']
    assert.throws(() => openDatabase(file, broken), /NONSENSE/)
    const again = new Ledger(file, log)
    assert.equal(again.jobs.counts(again.jobs.list()[0]!.id).tasks, 0)
    await again.close()
  })

  test('a write that fails on its own does not touch those beside it', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    const failing = ledger.commits.write(() => {
      throw new Error('mine alone')
    })
    const adding = ledger.tasks.add(job.id, numbered(0, 3))
    await assert.rejects(failing, /mine alone/)
    assert.equal((await adding).known, 0)
    assert.equal(ledger.jobs.counts(job.id).tasks, 3)
    await ledger.close()
  })

  test('a write that fails half-way leaves nothing of itself, and numbers go on as if it had not been', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    const before = ledger.tasks.add(job.id, numbered(0, 3))
    const failing = ledger.tasks.add(job.id, [
      { key: 'half', input: '1' },
      { key: 'bad', input: '2', blobs: 'not JSON' },
    ])
    const after = ledger.tasks.add(job.id, numbered(3, 5))
    await assert.rejects(failing, SyntaxError)
    assert.equal((await after).start, (await before).end)
    assert.equal(ledger.tasks.numberOf(job.id, 'half'), undefined)
    assert.equal(ledger.jobs.counts(job.id).tasks, 5)
    await ledger.close()
  })

  test('no number of a task is used again when those of jobs that end with the process are lost with the power', async () => {
    const file = join(tempFolder(), 'ledger.db')
    const before = new Ledger(file, log)
    const passing = await withJob(before, 'passing', { passing: true })
    await before.tasks.add(passing.id, numbered(0, 1))
    // What the disk has if the power goes now, whatever the operating system has besides.
    const left = join(tempFolder(), 'ledger.db')
    for (const end of ['', '-wal']) copyFileSync(`${file}${end}`, `${left}${end}`)
    const lost = await before.tasks.add(passing.id, numbered(1, 50))
    await before.results.add([{ job: passing.id, result: done(lost.start, 1), worker: 'w' }])
    assert.equal(before.results.page(passing.id, 0, 10).length, 1)
    await before.close()
    const after = new Ledger(left, log)
    const job = await withJob(after, 'next')
    const { start } = await after.tasks.add(job.id, numbered(0, 1))
    assert.ok(start >= lost.end, `${start} was given out before, up to ${lost.end}`)
    await after.close()
  })

  test('keys that are released never meet those that users choose', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), { minLength: 1 }),
        async (keys) => {
          // Names like those that are given to released keys are chosen by users too.
          const { end } = await ledger.tasks.add(job.id, [{ key: `probe ${Math.random()}`, input: '0' }])
          const chosen = [...new Set(keys.flatMap((key, i) => [key, `${key}#${end + 2 * i}`]))]
          await ledger.tasks.add(
            job.id,
            chosen.map((key) => ({ key, input: '1' })),
          )
          const released = await ledger.tasks.releaseKeys(job.id, [...chosen].reverse())
          assert.equal(released.length, chosen.length)
          const again = await ledger.tasks.add(
            job.id,
            chosen.map((key) => ({ key, input: '2' })),
          )
          assert.equal(again.known, 0)
          await ledger.tasks.releaseKeys(job.id, chosen)
        },
      ),
      { numRuns: 20 },
    )
    await ledger.close()
  })

  test('writes that arrive together go to disk together, in order', async () => {
    const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
    const job = await withJob(ledger)
    let commits = 0
    const exec = ledger.db.exec.bind(ledger.db)
    ledger.db.exec = (sql) => {
      if (sql === 'COMMIT') commits++
      exec(sql)
    }
    const batches = await Promise.all(
      Array.from({ length: 50 }, (_, i) => ledger.tasks.add(job.id, numbered(i * 10, i * 10 + 10))),
    )
    assert.ok(commits <= 2, `${commits} commits`)
    assert.deepEqual(
      batches.map(({ start }) => start - batches[0]!.start),
      batches.map((_, i) => i * 10),
    )
    await ledger.close()
  })
})

test('when the disk is full, new tasks are refused, results wait, and nothing acknowledged is lost', async () => {
  const ledger = new Ledger(join(tempFolder(), 'ledger.db'), log)
  const job = await withJob(ledger)
  const { start } = await ledger.tasks.add(job.id, numbered(0, 100))
  // SQLite reports a database at its page limit as it does a full disk.
  ledger.db.exec('PRAGMA max_page_count = 100')
  const filler = 'x'.repeat(10_000)
  let accepted = 0
  await assert.rejects(async () => {
    for (;;) {
      await ledger.tasks.add(job.id, [{ key: `fill${accepted}`, input: filler }])
      accepted++
    }
  }, LedgerWriteError)
  const writing = ledger.results.add([{ job: job.id, result: done(start, filler), worker: 'w1' }])
  await until(() => ledger.commits.trouble !== undefined)
  assert.equal(ledger.jobs.counts(job.id).done, 0)
  ledger.db.exec('PRAGMA max_page_count = 1000000')
  await writing
  assert.equal(ledger.commits.trouble, undefined)
  assert.equal(ledger.jobs.counts(job.id).tasks, 100 + accepted)
  assert.equal(ledger.jobs.counts(job.id).done, 1)
  await ledger.close()
})
