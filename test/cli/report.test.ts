import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { FactoryEvent } from '../../src/protocol/events.ts'
import { ask, CONTEXT, HttpWorker, managerForEachTest, startOn } from '../support/manager.ts'
import { factory } from './cli.ts'

const here = managerForEachTest()

test('a job that has ended has its report and its events from a running factory, and from its ledger alone', async () => {
  const { url, token } = here.manager
  const { body } = await ask<{ id: number }>(url, token, '/v1/jobs', {
    name: 'claims',
    context: CONTEXT.name,
  })
  const tasks = Array.from({ length: 40 }, (_, i) => ({ key: `k${i}`, input: i }))
  await ask(url, token, `/v1/jobs/${body.id}/tasks`, { tasks })
  await ask(url, token, `/v1/jobs/${body.id}/close`, {})
  const lost = await HttpWorker.register(here.manager)
  await lost.exchange({ room: 5 })
  await lost.die()
  const worker = await HttpWorker.register(here.manager)
  let done = 0
  while (done < 40) done += await worker.workUntilIdle()

  const run = (...args: string[]) => factory(args, { state: here.folder })
  const followed = await run('events', '--job', 'claims', '--json')
  const types = followed.stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as FactoryEvent).type)
  assert.equal(types[0], 'job-submitted')
  assert.ok(types.includes('attempts-lost') && types.includes('job-ended'))

  const folder = join(here.folder, 'out')
  await mkdir(folder)
  const online = await run(
    'report',
    'claims',
    '--html',
    join(folder, 'a.html'),
    '--csv',
    join(folder, 'a.csv'),
  )
  assert.equal(online.code, 0, online.stderr)
  assert.match(online.stdout, /40 of 40 tasks done/)
  assert.match(online.stdout, /1 worker fell silent: 5 tasks given back/)
  assert.match(online.stdout, /^node1 +test +cpu +40 /m)

  await worker.die()
  await here.manager.close()
  const offline = await run('report', 'claims', '--html', join(folder, 'b.html'))
  assert.equal(offline.code, 0, offline.stderr)
  assert.match(offline.stdout, /40 of 40 tasks done/)
  here.manager = await startOn(here.folder)

  const page = await readFile(join(folder, 'a.html'), 'utf8')
  assert.match(page, /<svg [^>]*aria-label="Workers/)
  assert.ok((await readFile(join(folder, 'b.html'), 'utf8')).includes('40 of 40 tasks done'))
  const [head, ...lines] = (await readFile(join(folder, 'a.csv'), 'utf8')).trim().split('\r\n')
  assert.match(head!, /^cursor,at,time,type,/)
  assert.ok(lines.some((line) => line.includes(',worker-lost,')))
})
