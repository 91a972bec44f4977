import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import pino from 'pino'
import { ConfigFile, resolveConfig } from '../../../src/factory/config/config.ts'
import type { Sighting } from '../../../src/factory/policy/match-pilots.ts'
import { SiteReconciler } from '../../../src/factory/reconcile/site-reconciler.ts'
import {
  SILENT_AFTER_MS,
  silenceReasons,
  silentPilots,
} from '../../../src/factory/policy/unregistered-pilots.ts'
import { BatchSystem } from '../support/in-memory-batch-system.ts'
import { testRegistry } from '../support/fake-pilot-registry.ts'

const NOW = 1_000_000

function running(pilot: string, ms: number, more: Partial<Sighting> = {}): Sighting {
  const since = NOW - ms
  return { pilot, state: 'running', registered: false, idle: false, since, seenAt: NOW, misses: 0, ...more }
}

const reasonOf = (log: string, more: Partial<Sighting> = {}) =>
  silenceReasons([{ pilot: running('p1', 70_000, more), log }], 'https://submit:9700', NOW)[0]!.reason

describe('a pilot that runs and has not registered', () => {
  test('is asked about after a minute, the one that has run for longest first', () => {
    const pilots = [
      running('p1', SILENT_AFTER_MS - 1),
      running('p2', SILENT_AFTER_MS),
      running('p3', SILENT_AFTER_MS + 9),
      running('p4', 99_999, { registered: true }),
      running('p5', 99_999, { state: 'pending' }),
    ]
    assert.deepEqual(
      silentPilots(pilots, NOW).map(({ pilot }) => pilot),
      ['p3', 'p2'],
    )
  })

  test('is explained by what pilot.sh or its worker has said last', () => {
    const unreachable = 'cannot reach https://submit:9700 for the runtime: curl: (28) Connection timed out'
    assert.equal(
      reasonOf(`gleaner: p1 on n1: setup runs in bash\nnoise\ngleaner: p1 on n1: ${unreachable}\n`),
      `running for 70 s, not registered: ${unreachable}`,
    )
    const line = JSON.stringify({
      reason: 'the manager at https://submit:9700 cannot be reached',
      msg: 'will ask again',
    })
    assert.equal(
      reasonOf(`gleaner: p1 on n1: job 7, started 1 times\n${line}\n`),
      'running for 70 s, not registered: the manager at https://submit:9700 cannot be reached; will ask again',
    )
  })

  test('is said to be in its setup, with what that wrote last', () => {
    assert.match(
      reasonOf('gleaner: p1 on n1: setup runs in bash\n'),
      /setup still runs in bash, and has written nothing$/,
    )
    assert.match(
      reasonOf('gleaner: p1 on n1: setup runs in bash\nwaiting for a license\n\n'),
      /setup still runs in bash, and wrote last: waiting for a license$/,
    )
  })

  test('comes with what to look at where its log says nothing', () => {
    const job = { jobId: '1', pilot: 'p1', state: 'running', node: 'n7' } as const
    assert.match(
      reasonOf('', { job }),
      /whether node n7 reaches https:\/\/submit:9700 \(curl -k https:\/\/submit:9700\)$/,
    )
    assert.match(
      reasonOf('garbage\n{"no": "message"}\n'),
      /its log says nothing yet; look whether its node reaches/,
    )
  })

  test('shares its line with others for the same reason', () => {
    const log = 'gleaner: p1 on n1: gets the runtime from https://submit:9700\n'
    const silent = [running('p1', 65_000), running('p2', 80_000)].map((pilot) => ({ pilot, log }))
    assert.deepEqual(silenceReasons(silent, 'https://submit:9700', NOW), [
      {
        reason: 'running for 80 s, not registered: gets the runtime from https://submit:9700',
        pilots: 2,
        state: 'running',
      },
    ])
  })

  test('has its reason in the status of its site', async (t) => {
    const siteFolder = mkdtempSync(join(tmpdir(), 'gleaner-silent-'))
    t.after(() => rmSync(siteFolder, { recursive: true }))
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const file = ConfigFile.parse({ sites: { here: { kind: 'local', count: 7 } } })
    const { site, queue, submissions } = new BatchSystem()
    const registry = testRegistry()
    registry.setDemand({ queued: 100 })
    const boot = { managerUrl: 'https://submit:9700', runtime: { path: '/nowhere', sha256: '0'.repeat(64) } }
    const log = pino({ level: 'silent' })
    const config = resolveConfig(file).sites[0]!
    const reconciler = new SiteReconciler({ config, site, siteFolder, registry, boot, log })

    await reconciler.look('work')
    await reconciler.submit()
    for (const job of queue.values()) job.state = 'running'
    await reconciler.look('work')
    const [{ record, pilots } = { record: '', pilots: [] }] = submissions
    for (const pilot of pilots)
      writeFileSync(
        join(record, 'logs', `${pilot}.log`),
        `gleaner: ${pilot} on n1: gets the runtime from x\n`,
      )
    assert.deepEqual(reconciler.status([]).reasons, [])
    t.mock.timers.tick(SILENT_AFTER_MS)
    await reconciler.look('work')
    assert.deepEqual(reconciler.status([]).reasons, [
      { reason: 'running for 60 s, not registered: gets the runtime from x', pilots: 5, state: 'running' },
      { reason: 'running, not registered either', pilots: 2, state: 'running' },
    ])
  })
})
