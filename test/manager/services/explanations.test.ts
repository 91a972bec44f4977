import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FactorySites } from '../../../src/core/interfaces/factory-sites.ts'
import type { JobInfo } from '../../../src/protocol/client.ts'
import type { PilotsResponse, SiteOrder, SiteStatus } from '../../../src/protocol/status.ts'
import type { JobExplanation, SiteExplanation } from '../../../src/protocol/explanation.ts'
import { ask, HttpWorker, managerForEachTest, startOn } from '../../support/manager.ts'

const here = managerForEachTest()

async function makeJob(keys: string[]): Promise<number> {
  const { url, token } = here.manager
  const { body } = await ask<JobInfo>(url, token, '/v1/jobs', { name: 'j', context: 'ctx' })
  const tasks = keys.map((key) => ({ key, input: key }))
  await ask(url, token, `/v1/jobs/${body.id}/tasks`, { tasks })
  return body.id
}

const site: SiteExplanation = {
  site: 'gpu',
  summary: 's',
  reasons: [{ code: 'paused', text: 'A user has paused it.' }],
}

/** Sites played by the test. */
function sites(registry: { setOrder(site: string, order: SiteOrder): void }): FactorySites {
  const status = (order: SiteOrder): SiteStatus => ({
    name: 'gpu',
    kind: 'slurm',
    policy: 'fixed',
    order,
    max: 1,
    wanted: 0,
    pending: 0,
    running: 0,
    held: 0,
    registered: 0,
    reasons: [],
  })
  return {
    status: () => [status('work')],
    pilots: () => [{ pilot: 'p1', site: 'gpu', state: 'pending', reason: 'Priority' }],
    explain: (name) => (name === 'gpu' ? site : undefined),
    order(name, order) {
      if (name !== 'gpu') return undefined
      registry.setOrder(name, order)
      return status(order)
    },
  }
}

test('the manager explains a job without workers by its sites, and one of its tasks by where it is', async () => {
  const { url, token, registry } = here.manager
  here.manager.showSites(sites(registry))
  const id = await makeJob(['a', 'b'])
  const { body } = await ask<JobExplanation>(url, token, `/v1/jobs/${id}/explanation`)
  assert.deepEqual(
    body.reasons.map(({ code }) => code),
    ['no-worker', 'site-paused'],
  )
  const worker = await HttpWorker.register(here.manager)
  const { body: reply } = await worker.exchange({ room: 1 })
  const about = async (key: string) =>
    (await ask<JobExplanation>(url, token, `/v1/jobs/${id}/explanation?key=${key}`)).body.reasons[0]!
  assert.match((await about('a')).text, /Task a is in the hands of worker w1 on node1/)
  const [lease] = reply.leases
  const result = {
    task: lease!.tasks[0]!.task,
    lease: lease!.lease,
    outcome: { status: 'done' as const, value: 1 },
    ms: 3,
  }
  await worker.exchange({ results: [result] })
  assert.match((await about('a')).text, /Task a is done on worker w1/)
  assert.equal((await about('b')).code, 'waits')
  const missing = await ask(url, token, `/v1/jobs/${id}/explanation?key=zz`)
  assert.equal(missing.status, 404)
  await worker.die()
})

test('an order to a site is passed on, stays over a restart, and is refused for a site that is not there', async () => {
  const { url, token, registry } = here.manager
  here.manager.showSites(sites(registry))
  assert.equal((await ask<SiteStatus>(url, token, '/v1/sites/gpu/pause', {})).body.order, 'pause')
  assert.equal((await ask(url, token, '/v1/sites/cpu/pause', {})).status, 404)
  assert.equal((await ask(url, token, '/v1/sites/gpu/stop', {})).status, 400)
  assert.equal((await ask(url, token, '/v1/sites/cpu/explanation')).status, 404)
  assert.deepEqual((await ask(url, token, '/v1/sites/gpu/explanation')).body, site)
  const listed = await ask<PilotsResponse>(url, token, '/v1/pilots')
  assert.deepEqual(
    listed.body.pilots.map(({ pilot }) => pilot),
    ['p1'],
  )
  await here.manager.close()
  here.manager = await startOn(here.folder)
  assert.equal(here.manager.registry.order('gpu'), 'pause')
  assert.equal(here.manager.registry.order('other'), 'work')
})
