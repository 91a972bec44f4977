import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { EventLog } from '../../../src/manager/ledger/event-log.ts'
import { Ledger } from '../../../src/manager/ledger/ledger.ts'
import type { FactoryEvent, NewEvent } from '../../../src/protocol/events.ts'

let folder: string
let ledger: Ledger
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gleaner-events-'))
  ledger = new Ledger(join(folder, 'ledger.db'), pino({ level: 'silent' }))
})
after(async () => {
  await ledger.close()
  await rm(folder, { recursive: true })
})

const empty = () => void ledger.db.exec('DELETE FROM events')
const progress = (job: number, done: number): NewEvent => ({
  type: 'job-progress',
  job,
  tasks: 1_000_000,
  done,
  failed: 0,
})
const lasting = (pilot: number): NewEvent => ({
  type: 'pilot-ended',
  pilot: `p${pilot}`,
  site: 's',
  reason: 'gone',
})
const add = (log: EventLog, ...events: NewEvent[]) =>
  ledger.commits.write(() => log.add(events.map((event, i) => ({ at: i, ...event }))))
const all = (log: EventLog) =>
  log.read({ after: 0, limit: 1e6 }).events.map(({ text }) => JSON.parse(text) as FactoryEvent)

test('events come back in the order in which they came, a page at a time, each with a cursor to go on from', async () => {
  empty()
  const log = new EventLog(ledger)
  await add(log, lasting(1), progress(7, 1), lasting(2))
  const first = log.read({ after: 0, limit: 2 })
  assert.equal(first.more, true)
  const second = log.read({ after: first.cursor, limit: 2 })
  assert.deepEqual([first.events.length, second.events.length, second.more], [2, 1, false])
  assert.equal(second.cursor, log.last)
  const types = log.read({ after: 0, limit: 9, types: ['job-progress'] }).events
  assert.deepEqual(
    types.map(({ text }) => (JSON.parse(text) as FactoryEvent).type),
    ['job-progress'],
  )
  assert.equal(log.read({ after: 0, limit: 9, job: 7 }).events.length, 1)
  assert.equal(log.read({ after: 0, limit: 9, site: 's' }).events.length, 2)
  assert.equal(log.read({ after: log.before(1, {}), limit: 9 }).events.length, 1)
  assert.equal(log.read({ after: log.before(1, { job: 7 }), limit: 9, job: 7 }).events.length, 1)
})

test('a cursor of another ledger, which this one has not come to, reads from the first event', async () => {
  empty()
  const log = new EventLog(ledger)
  await add(log, lasting(1))
  assert.equal(log.read({ after: 1_000_000, limit: 9 }).events.length, 1)
})

test('a log that is full keeps within its bounds, keeps all that are no totals for long, and of totals fewer the older they are', async () => {
  empty()
  const log = new EventLog(ledger, { rows: 5_000, bytes: 64 << 20 })
  for (let i = 0; i < 300; i++) {
    await add(log, lasting(i), ...Array.from({ length: 49 }, (_, k) => progress(k % 3, i * 49 + k)))
    assert.ok(log.size.rows <= 5_000)
  }
  const kept = all(log)
  assert.equal(kept.length, log.size.rows)
  assert.equal(kept.filter(({ type }) => type === 'pilot-ended').length, 300)
  const cursors = kept.map(({ cursor }) => cursor)
  const middle = (cursors[0]! + cursors.at(-1)!) / 2
  const older = cursors.filter((cursor) => cursor < middle).length
  assert.ok(older < (cursors.length - older) / 2, `${older} of ${cursors.length} are in the older half`)
  assert.ok(older > 150)
})

test('a log of what is no totals loses the oldest, and numbers are never used twice', async () => {
  empty()
  const log = new EventLog(ledger, { rows: 1_000, bytes: 64 << 20 })
  for (let i = 0; i < 40; i++) await add(log, ...Array.from({ length: 100 }, (_, k) => lasting(i * 100 + k)))
  const { last } = log
  const kept = all(log)
  assert.ok(kept.length <= 1_000 && kept.length >= 800)
  assert.equal(kept.at(-1)!.cursor, last)
  empty()
  const anew = new EventLog(ledger)
  await add(anew, lasting(1))
  assert.equal(anew.last, last + 1)
})

test('large events make room for themselves by their bytes', async () => {
  empty()
  const log = new EventLog(ledger, { rows: 200_000, bytes: 100_000 })
  const large = (i: number): NewEvent => ({ type: 'site-paused', site: `s${i}`, reason: 'x'.repeat(10_000) })
  for (let i = 0; i < 50; i++) await add(log, large(i))
  assert.ok(log.size.bytes <= 200_000)
})

test('a write that is undone leaves no trace in the counts', async () => {
  empty()
  ledger.events.forget()
  await add(ledger.events, lasting(1))
  await assert.rejects(
    ledger.commits.write(() => {
      ledger.events.add([{ at: 1, ...lasting(2) }])
      throw new Error('undone')
    }),
  )
  assert.equal(ledger.events.size.rows, 1)
  assert.equal(all(ledger.events).length, 1)
})
