import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import pino from 'pino'
import { ConfigFile, resolveConfig } from '../../../../src/factory/config/config.ts'
import { makeSite } from '../../../../src/factory/factory.ts'
import { SiteReconciler } from '../../../../src/factory/reconcile/site-reconciler.ts'
import type { Site } from '../../../../src/factory/sites/site.ts'
import { submissionsFolder } from '../../../../src/factory/submissions/submission.ts'
import { openTransports } from '../../../../src/factory/transports/open-transports.ts'
import { eventually } from '../../support/eventually.ts'
import { testRegistry } from '../../support/fake-pilot-registry.ts'
import { type CuttingProxy, cuttingProxy } from './cutting-proxy.ts'
import { farSlurm } from './fake-remote-slurm.ts'
import { noSshd, type Sshd, knownHost, startSshd } from './sshd.ts'

const PILOTS = 3
/** Where a submission is broken, as shares of all that goes over the connection for it. */
const BREAKS = [0.05, 0.2, 0.35, 0.5, 0.65, 0.75, 0.85, 0.95]

let sshd: Sshd
let proxy: CuttingProxy
before(async () => {
  if (noSshd) return
  sshd = await startSshd()
  proxy = await cuttingProxy(sshd.port)
  writeFileSync(sshd.knownHosts, knownHost(`[127.0.0.1]:${proxy.port}`, sshd.hostKey))
})
after(async () => {
  await proxy?.[Symbol.asyncDispose]()
  await sshd?.[Symbol.asyncDispose]()
})

/** A site behind the proxy with an empty queue, and what keeps its pilots. */
function farSite() {
  const folder = mkdtempSync(join(tmpdir(), 'gleaner-broken-'))
  const runtime = { path: join(folder, 'runtime.tar.gz'), sha256: '' }
  const slurm = farSlurm(folder)
  const transport = { ssh: `login:${proxy.port}`, config: sshd.config, folder: join(folder, 'far end') }
  const sites = { far: { kind: 'slurm', count: PILOTS, transport, commandEnvironment: slurm.environment } }
  const config = resolveConfig(ConfigFile.parse({ sites })).sites[0]!
  const transports = openTransports(folder)
  const real = makeSite(config, 'f', folder, transports, () => {})
  // What has not turned up by the next look does not turn up later: here, the queue is never late.
  const site = Object.create(real, { lateness: { value: 0 } }) as Site
  const registry = testRegistry()
  registry.setDemand({ queued: 100 })
  const keeper = new SiteReconciler({
    config,
    site,
    siteFolder: submissionsFolder(folder, 'far'),
    registry,
    boot: { managerUrl: 'http://127.0.0.1:9', runtime },
    log: pino({ level: 'silent' }),
  })
  /** What the site's loop does, once. What fails is tried again the next time. */
  const turn = async () => {
    const ended = async (work: Promise<void>) =>
      await work.then(
        () => true,
        () => false,
      )
    const looked = await ended(keeper.look('work'))
    return looked && (!keeper.wantsMore || (await ended(keeper.submit())))
  }
  /** Until the queue has been seen, and nothing is left open. A site that failed goes on with one pilot, until that works. */
  const settled = () =>
    eventually(
      'nothing is left open',
      async () => (await turn()) && registry.list('far').every(({ jobId }) => jobId !== undefined),
      60,
    )
  const end = () => {
    transports[Symbol.dispose]()
    rmSync(folder, { recursive: true, force: true })
  }
  return { folder, slurm, keeper, registry, turn, settled, [Symbol.dispose]: end }
}

/** Every pilot that the ledger has, has the one job that it says, and there is no other. */
function assertNeitherLostNorDoubled({ slurm, registry }: ReturnType<typeof farSite>): void {
  const records = registry.list('far')
  assert.deepEqual(records.map(({ jobId }) => jobId).sort(), slurm.jobs())
}

describe('a submission over a connection that breaks', { skip: noSshd }, () => {
  let whole = 0
  test('that does not break is there once', async () => {
    using site = farSite()
    const before = proxy.passed
    await site.settled()
    whole = proxy.passed - before
    assert.equal(site.slurm.jobs().length, PILOTS)
    assertNeitherLostNorDoubled(site)
  })

  for (const share of BREAKS)
    test(`after ${share * 100} % of what goes over it is neither lost nor doubled`, async () => {
      using site = farSite()
      proxy.cutAfter(Math.round(whole * share))
      await site.settled()
      await site.turn()
      assertNeitherLostNorDoubled(site)
    })

  test('when the batch system has taken it, and its answer is lost, is found in the queue and not given again', async () => {
    using site = farSite()
    const spool = site.slurm.environment['SPOOL']!
    writeFileSync(join(spool, 'hold'), '')
    await site.keeper.look('work')
    const submitting = site.keeper.submit()
    submitting.catch(() => {})
    await eventually('sbatch has taken it', () => existsSync(join(spool, 'held')))
    proxy.cut()
    await assert.rejects(submitting, /the connection to login has broken/)
    rmSync(join(spool, 'hold'))
    await site.settled()
    assertNeitherLostNorDoubled(site)
    assert.equal(site.registry.created, PILOTS)
    assert.deepEqual(site.registry.endings, [])
  })
})
