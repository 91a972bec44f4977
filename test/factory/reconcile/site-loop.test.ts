import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, describe, test } from 'node:test'
import pino from 'pino'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import type { PilotRecord } from '../../../src/core/interfaces/pilot-registry.ts'
import { SiteLoop } from '../../../src/factory/reconcile/site-loop.ts'
import { BatchSystem } from '../support/in-memory-batch-system.ts'
import { eventually } from '../support/eventually.ts'
import { testRegistry } from '../support/fake-pilot-registry.ts'

/** A loop over a batch system in memory, with much to do. */
function startLoop(t: TestContext, site: object, observe?: (record: PilotRecord) => void) {
  const siteFolder = mkdtempSync(join(tmpdir(), 'gleaner-loop-'))
  // Other programs leave files in folders, such as NFS for what was removed while it was open.
  writeFileSync(join(siteFolder, '.nfs1'), '')
  // Of kind `local` for its quick pace; everything else is the batch system's.
  const file = { kind: 'local', poll: 0.01, submitRate: 6000, ...site }
  const config = resolveConfig(ConfigFile.parse({ sites: { here: file } })).sites[0]!
  const batch = new BatchSystem()
  const registry = testRegistry(observe ? { observe } : {})
  registry.setDemand({ queued: 1000 })
  const boot = { managerUrl: 'http://127.0.0.1:9', runtime: { path: '/nowhere', sha256: '0'.repeat(64) } }
  const log = pino({ level: 'silent' })
  const loop = new SiteLoop({ config, site: () => batch.site, siteFolder, registry, boot, log })
  t.after(async () => {
    await loop.stop({ drain: false })
    rmSync(siteFolder, { recursive: true })
  })
  /** Resolves when so many wait, as far as both the queue and the loop know. */
  const waiting = (count: number) => {
    const inQueue = () => [...batch.queue.values()].filter(({ state }) => state === 'pending').length
    return eventually(`${count} wait`, () => inQueue() === count && loop.status().pending === count)
  }
  return { batch, registry, loop, siteFolder, waiting }
}

const runAll = (batch: BatchSystem, node = 'n1') => {
  for (const job of batch.queue.values())
    if (job.state === 'pending') Object.assign(job, { state: 'running', node })
}

describe('the loop of a site', { concurrency: true }, () => {
  test('keeps a submission whose answer was lost in its count, and takes on its jobs', async (t) => {
    const { batch, registry, loop } = startLoop(t, { count: 5 })
    batch.faults = ['lose-and-take']
    await eventually(
      'the jobs are known',
      () => registry.list('here').every(({ jobId }) => jobId) && batch.queue.size === 5,
    )
    assert.equal(registry.created, 5)
    assert.equal(loop.status().pending, 5)
  })

  test('waits for the end of the work until it is told to stop without', async (t) => {
    const { batch, loop, waiting } = startLoop(t, { count: 2 })
    await waiting(2)
    const drained = loop.stop({ drain: true })
    await loop.stop({ drain: false })
    await drained
    assert.equal(batch.queue.size, 0)
  })

  test('gives up a submission that got lost, and submits again', async (t) => {
    const { batch, registry } = startLoop(t, { count: 2 })
    batch.faults = ['lose']
    await eventually('others are submitted', () => batch.queue.size > 0)
    assert.ok(registry.created > 2)
    assert.ok(batch.most <= 2)
    assert.ok(registry.endings.length === 2)
  })

  test('shows why a submission was refused, and does not try again at once', async (t) => {
    const { batch, registry, loop } = startLoop(t, { count: 2 })
    batch.faults = ['refuse', 'refuse']
    await eventually('it pauses', () => loop.status().paused !== undefined)
    assert.equal(loop.status().paused, 'submission failed: invalid account')
    assert.ok(loop.status().retryAt! > Date.now())
    assert.equal(registry.created, 2)
    assert.deepEqual(registry.list('here'), [])
  })

  test('submits and removes nothing while it cannot see the queue', async (t) => {
    const { batch, registry, loop, waiting } = startLoop(t, { count: 3 })
    await waiting(3)
    batch.faults = Array.from({ length: 20 }, () => 'list-fails' as const)
    await eventually('it says so', () => loop.status().paused === 'cannot reach the controller')
    assert.equal(batch.queue.size, 3)
    await eventually('it sees again', () => batch.faults.length === 0 && loop.status().paused === undefined)
    assert.equal(registry.created, 3)
    assert.deepEqual(registry.endings, [])
  })

  test('counts held pilots against the maximum, shows why they are held, and removes them when it may', async (t) => {
    const { batch, registry, loop, waiting } = startLoop(t, { count: 2, removeHeldAfter: 1 })
    await waiting(2)
    for (const job of batch.queue.values()) Object.assign(job, { state: 'held', reason: 'disk quota' })
    await eventually('both are held', () => loop.status().held === 2)
    assert.deepEqual(loop.status().reasons, [{ reason: 'disk quota', pilots: 2, state: 'held' }])
    assert.equal(registry.created, 2)
    await eventually('they are removed', () => registry.endings.length === 2)
    await eventually('it pauses', () => loop.status().paused?.includes('(disk quota)'))
    assert.equal(registry.created, 2)
  })

  test('takes waiting pilots out of the queue when the work is gone, and no others', async (t) => {
    const { batch, registry, loop, waiting } = startLoop(t, {
      policy: 'opportunistic',
      pending: 2,
      max: 5,
      linger: 0,
    })
    await waiting(2)
    runAll(batch)
    await waiting(2)
    assert.equal(loop.status().running, 2)
    registry.setDemand({ queued: 0, leased: 0 })
    await waiting(0)
    assert.equal(loop.status().running, 2)
    assert.equal(batch.queue.size, 2)
    // That they were taken out is no failure of the site's.
    registry.setDemand({ queued: 100 })
    await waiting(2)
    assert.equal(loop.status().paused, undefined)
  })

  test('removes jobs of its own that are in no record', async (t) => {
    const { batch, loop } = startLoop(t, { count: 1 })
    batch.queue.set('p999', { jobId: 'stray', pilot: 'p999', state: 'pending' })
    await eventually('only its own is left', () => loop.status().pending === 1 && !batch.queue.has('p999'))
  })

  test('goes on beside a job that cannot be removed, says so, and stops all the same', async (t) => {
    const { batch, loop } = startLoop(t, { count: 2, max: 3 })
    batch.queue.set('p999', { jobId: 'stray', pilot: 'p999', state: 'held' })
    batch.nailed.add('p999')
    await eventually('it has its pilots', () => batch.submissions.length > 0 && loop.status().pending === 2)
    assert.match(loop.status().warnings?.join() ?? '', /cannot remove stray: permission denied/)
    assert.equal(loop.status().paused, undefined)
    const stopped = loop.stop({ drain: false })
    await eventually('its own are gone', () => batch.queue.size === 1)
    batch.nailed.clear()
    await stopped
  })

  test('reports what its queue shows beside jobs, and does its work', async (t) => {
    const { batch, loop, waiting } = startLoop(t, { count: 2 })
    batch.oddities = ['squeue answered a line that is not understood: "Welcome"']
    await waiting(2)
    assert.deepEqual(loop.status().warnings, batch.oddities)
  })

  test('keeps its pilots when the queue is shown empty by mistake', async (t) => {
    const { batch, registry, waiting } = startLoop(t, { count: 3 })
    await waiting(3)
    batch.site.lateness = 60_000
    batch.faults = ['list-is-empty', 'list-is-empty', 'list-is-empty']
    await eventually('it was empty', () => batch.faults.length === 0)
    await waiting(3)
    assert.equal(registry.created, 3)
    assert.deepEqual(registry.endings, [])
  })

  test('removes what it has submitted when it is stopped without a readable queue', async (t) => {
    const { batch, loop, waiting } = startLoop(t, { count: 3 })
    await waiting(3)
    batch.faults = Array.from({ length: 10 }, () => 'list-fails' as const)
    const stopped = loop.stop({ drain: false })
    await eventually('all are told to go', () => batch.queue.size === 0)
    assert.ok(batch.faults.length > 0, 'it could still not see the queue')
    await stopped
  })

  test('submits fewer at once where the batch system takes no more, down to one', async (t) => {
    for (const largest of [3, 1]) {
      const { batch, loop, waiting } = startLoop(t, { count: 10 })
      batch.largest = largest
      await waiting(10)
      assert.ok(batch.submissions.every(({ pilots }) => pilots.length <= largest))
      assert.equal(loop.status().paused, undefined)
    }
  })

  test('avoids a node that fails everything, and has the pilots there leave', async (t) => {
    const workers = new Map<string, NonNullable<PilotRecord['worker']>>()
    const { batch, registry, waiting } = startLoop(t, { count: 2, max: 3 }, (record) => {
      const worker = workers.get(record.pilot)
      if (worker) Object.assign(record, { registeredAt: record.registeredAt ?? Date.now(), worker })
      else delete record.worker
    })
    await waiting(2)
    runAll(batch)
    const [good, bad] = [...batch.queue.keys()] as [string, string]
    const worker = { state: 'active', leased: 1 } as const
    workers.set(good, { ...worker, id: 'w1', node: 'n1', tasksDone: 500, tasksFailed: 0 })
    workers.set(bad, { ...worker, id: 'w2', node: 'hole', tasksDone: 0, tasksFailed: 300 })
    await eventually('it is asked to leave', () => registry.drained.includes(bad))
    assert.ok(!registry.drained.includes(good))
    workers.delete(bad)
    batch.queue.delete(bad)
    await eventually('another is submitted', () => batch.submissions.length === 2)
    assert.deepEqual(batch.submissions[1]?.avoidNodes, ['hole'])
  })

  test('avoids a node whose pilot the manager sent away as a black hole, which is no failure of the site', async (t) => {
    let blackHole = ''
    const { batch, loop, waiting } = startLoop(t, { count: 2, max: 3 }, (record) => {
      record.registeredAt ??= Date.now()
      if (record.pilot === blackHole) record.blackHole = 'hole'
    })
    await waiting(2)
    blackHole = [...batch.queue.keys()][0]!
    batch.queue.delete(blackHole)
    await eventually('another is submitted', () => batch.submissions.length === 2)
    assert.deepEqual(batch.submissions[1]?.avoidNodes, ['hole'])
    assert.equal(loop.status().paused, undefined)
  })

  test('keeps the logs of the latest submissions only', async (t) => {
    const { batch, siteFolder, waiting } = startLoop(t, { count: 1 }, (record) => {
      record.registeredAt ??= Date.now() - 60_000
    })
    for (let round = 0; round < 30; round++) {
      await waiting(1)
      batch.queue.clear()
      await eventually('it is gone', () => batch.submissions.length === round + 2)
    }
    assert.ok(readdirSync(siteFolder).length <= 22, `${readdirSync(siteFolder).length} folders`)
  })
})
