import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { makeReport, savingOf, timeNodes, totalOf } from '../../src/report/make-report.ts'
import { niceMost, timeTicks } from '../../src/report/charts.ts'
import { eventsCsv } from '../../src/report/events-csv.ts'
import { escapeHtml } from '../../src/report/escape-html.ts'
import { reportPage } from '../../src/report/report-page.ts'
import { energyLines, wattHours } from '../../src/report/report-sentences.ts'
import type { FactoryEvent } from '../../src/protocol/events.ts'
import { reportText } from '../../src/cli/views/report-view.ts'
import { makeHistory } from './support/history.ts'

const count = (events: readonly FactoryEvent[], type: string) =>
  events.filter((event) => event.type === type).length

test('a report sums up what the events of a job tell', () => {
  const { job, events, errors } = makeHistory()
  const report = makeReport({ job, events, errors, nodes: [] })
  assert.equal(report.to - report.from, 599_000)
  assert.deepEqual([report.hasEnded, report.isCut, report.otherJobs], [true, false, 0])
  assert.equal(report.taken.evicted.workers, count(events, 'worker-evicted'))
  assert.equal(report.taken.lost.workers, count(events, 'worker-lost'))
  assert.ok(report.taken.evicted.workers > 2 && report.taken.lost.workers > 1)
  assert.equal(report.attemptsLost, 120 * count(events, 'attempts-lost'))
  assert.equal(report.context.loads, count(events, 'worker-registered'))
  assert.equal(report.context.loadMs, 14_000 * report.context.loads)
  const last = events.findLast((event) => event.type === 'sample')!
  assert.equal(
    totalOf(report.spent),
    last.pools.reduce((sum, { spentMs }) => sum + totalOf(spentMs), 0),
  )
  assert.deepEqual(report.progress.at(-1)!.values, { done: job.done, failed: 12 })
  assert.equal(savingOf(report, 1), (job.done + 12 - report.context.loads) * 14_000)
})

test('a load that had only begun when the files were there is counted once', () => {
  const { job, events, errors } = makeHistory()
  const begun = events.map((event) =>
    event.type === 'context-level' && event.level === 'disk' ? { ...event, loadMs: 6 } : event,
  )
  const [whole, other] = [events, begun].map(
    (each) => makeReport({ job, events: each, errors, nodes: [] }).context,
  )
  assert.deepEqual([other!.loads, other!.fetches], [whole!.loads, whole!.fetches])
  assert.ok(other!.loadMs > whole!.loadMs)
})

test('a report says what the GPUs drew where their driver tells, by site and for each 1,000 tasks', () => {
  const { job, events, errors } = makeHistory()
  const report = makeReport({ job, events, errors, nodes: [] })
  const { energyJ } = events.findLast((event) => event.type === 'sample')!.pools[0]!
  assert.deepEqual(
    report.pools.map((pool) => pool.energyJ),
    [energyJ, undefined, undefined],
  )
  const [drew, missing] = energyLines(report)
  assert.equal(
    drew,
    `GPUs drew ${wattHours(energyJ)}: ${wattHours((energyJ! * 1000) / (job.done + 12))} for each 1,000 tasks.`,
  )
  assert.match(missing!, /missing/)
  assert.equal(wattHours(3_600_000), '1 kWh')
  assert.equal(wattHours(1_800), '0.5 Wh')
  for (const text of [reportText(report), reportPage(report, '0.0.0')]) assert.ok(text.includes(drew))
  const untold = events.map((event) =>
    event.type === 'sample' ? { ...event, pools: event.pools.map(({ energyJ: _, ...pool }) => pool) } : event,
  )
  const silent = makeReport({ job, events: untold, errors, nodes: [] })
  assert.deepEqual(energyLines(silent), [])
  assert.doesNotMatch(reportText(silent), /Wh|ENERGY/)
})

test('slot time of before the job, and of after its end, is not the job’s', () => {
  const { job, events, errors } = makeHistory()
  const half = events.findIndex(({ at }) => at >= events[0]!.at + 300_000)
  const later = events.filter(({ type }) => type !== 'job-submitted')
  const submitted = events.find(({ type }) => type === 'job-submitted')!
  const moved = [...later.slice(0, half), { ...submitted, at: events[half]!.at }, ...later.slice(half)]
  const whole = makeReport({ job, events, errors, nodes: [] })
  const part = makeReport({ job, events: moved, errors, nodes: [] })
  assert.ok(totalOf(part.spent) < 0.75 * totalOf(whole.spent))
  assert.ok(totalOf(part.spent) > 0.25 * totalOf(whole.spent))
  // Those that were there before it was submitted are there from its first moment.
  assert.ok(Object.values(part.workers[0]!.values).reduce((sum, n) => sum + n, 0) > 5)
})

test('events that were thinned out take detail from a report, and nothing from its sums', () => {
  const { job, events, errors } = makeHistory()
  const lastSample = events.findLast(({ type }) => type === 'sample')
  const thinned = events.filter(
    (event, i) => !['sample', 'job-progress'].includes(event.type) || i % 5 === 0 || event === lastSample,
  )
  const whole = makeReport({ job, events, errors, nodes: [] })
  const rest = makeReport({ job, events: thinned, errors, nodes: [] })
  assert.deepEqual(rest.spent, whole.spent)
  assert.deepEqual(rest.taken, whole.taken)
  assert.ok(rest.progress.length < whole.progress.length / 2)
})

test('a job of which no events are left, and one that has just been made, have a report too', () => {
  const { job } = makeHistory()
  const nothing = { ...job, tasks: 0, done: 0, failed: 0, state: 'open' as const }
  for (const each of [job, nothing]) {
    const report = makeReport({
      job: each,
      events: [],
      errors: { failed: 0, kinds: 0, errors: [] },
      nodes: [],
    })
    assert.equal(report.isCut, true)
    assert.ok(reportText(report).includes('No slot time was measured.'))
    assert.ok(!/NaN|Infinity|undefined/.test(reportPage(report, '1') + reportText(report)))
  }
})

test('a clock that was set back between two starts makes no chart run backwards', () => {
  const { job, events, errors } = makeHistory()
  const jumped = events.map((event, i) => (i > 200 ? { ...event, at: event.at - 86_400_000 } : event))
  const report = makeReport({ job, events: jumped, errors, nodes: [] })
  for (const steps of [report.workers, report.slots, report.progress])
    for (const [i, { at }] of steps.entries()) assert.ok(i === 0 || at >= steps[i - 1]!.at)
  assert.ok(!reportPage(report, '1').includes('NaN'))
})

test('nodes are compared by what their tasks took', async () => {
  const { job, events, errors } = makeHistory()
  const timings = [
    { worker: 'w2', ms: 10, status: 'done' },
    { worker: 'w2', ms: 30, status: 'error' },
    { worker: 'w4', ms: 200, status: 'done' },
    { worker: 'w999', ms: 5, status: 'done' },
  ]
  const nodes = await timeNodes(timings, events)
  const report = makeReport({ job, events, errors, nodes })
  assert.deepEqual(
    report.nodes.map(({ node, tasks, failed, meanMs }) => [node, tasks, failed, meanMs]),
    [
      ['node4', 1, 0, 200],
      ['node2', 2, 1, 20],
    ],
  )
})

test('whatever nodes, drivers, users and errors say is shown as text, in pages that load nothing', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(
      '</title><script>alert(1)</script>',
      '"><img src=x onerror=alert(1)>',
      "' onload='x",
      '\u202egpj.exe',
      '\ud800',
    ),
  )
  const tags = (page: string) => page.match(/<[a-z!/][^>]*>/gi)!.map((tag) => tag.replace(/="[^"]*"/g, '=""'))
  const plain = (() => {
    const { job, events, errors } = makeHistory({ device: 'x', node: 'x', job: 'x', error: 'x' })
    return new Set(tags(reportPage(makeReport({ job, events, errors, nodes: [] }), '1')))
  })()
  fc.assert(
    fc.property(hostile, hostile, hostile, (device, name, error) => {
      const { job, events, errors } = makeHistory({ device, job: name, error })
      const page = reportPage(makeReport({ job, events, errors, nodes: [] }), '1')
      for (const tag of tags(page)) assert.ok(plain.has(tag), tag)
      assert.doesNotMatch(page, /[\u202a-\u202e\u2066-\u2069]/)
      assert.doesNotMatch(page, /https?:\/\/|<script|url\(/)
    }),
    { numRuns: 10 },
  )
  assert.equal(escapeHtml('<a href="x">\'&'), '&lt;a href=&quot;x&quot;&gt;&#39;&amp;')
})

test('events become CSV that a spreadsheet reads back, and takes none for a formula', () => {
  const events: FactoryEvent[] = [
    { cursor: 1, at: 0, type: 'site-paused', site: 's', reason: '=HYPERLINK("x"),\r\nand "more"' },
    { cursor: 2, at: 1_000, type: 'factory-stopped' },
  ]
  assert.equal(
    eventsCsv(events),
    'cursor,at,time,type,site,reason\r\n' +
      '1,0,1970-01-01T00:00:00.000Z,site-paused,s,"\'=HYPERLINK(""x""),\r\nand ""more"""\r\n' +
      '2,1000,1970-01-01T00:00:01.000Z,factory-stopped,,\r\n',
  )
})

test('an axis of time has a few ticks at round times', () => {
  assert.deepEqual(
    timeTicks(599_000).map(({ label }) => label),
    ['0 min', '2 min', '4 min', '6 min', '8 min'],
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e10 }), (whole) => {
      const ticks = timeTicks(whole)
      assert.ok(ticks.length >= 1 && ticks.length <= 8)
      assert.ok(ticks.every(({ ms }) => ms <= whole * 1.0001))
    }),
  )
})

test('an axis ends at a round number that is no smaller than what it shows', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 1e12, noNaN: true }), (value) => {
      const most = niceMost(value)
      assert.ok(most >= value && most <= value * 2.0001)
    }),
  )
})
