import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Status } from '../../../src/protocol/status.ts'
import { ask, HttpWorker, makeState, registerContext, removeState, startOn } from '../../support/manager.ts'

const SPEC = {
  name: 'own',
  library: 'module',
  bundles: { app: '.' },
  setup: { bundle: 'app', file: 'a.js' },
  functions: { f: { export: 'f' } },
}

test('the end of one context’s fetch is not that of another’s that needs the same bundle', async () => {
  const folder = await makeState()
  const manager = await startOn(folder)
  try {
    const contexts: string[] = []
    let bundle = ''
    await mkdir(join(folder, 'app'))
    await writeFile(join(folder, 'app', 'a.js'), 'export const f = () => 1\n')
    for (const name of ['one', 'two']) {
      await mkdir(join(folder, name))
      const spec = { ...SPEC, name, bundles: { app: '../app' } }
      await writeFile(join(folder, name, 'context.yaml'), JSON.stringify(spec))
      const { id, bundles } = await registerContext(manager, join(folder, name))
      contexts.push(id)
      bundle = bundles.app!
    }
    const worker = await HttpWorker.register(manager)
    const request = { bundle, faults: [], heldBytes: 0, totalBytes: 100, from: [] }
    await ask(manager.url, worker.session, `/v1/workers/${worker.id}/sources`, request)
    const [fetching, failed] = contexts.map((context) => ({ context, level: 'absent' as const, attempts: 1 }))
    const transfers = async () =>
      (await ask<Status>(manager.url, manager.token, '/v1/status')).body.transfers.length
    for (const reports of [
      [{ ...fetching!, doing: 'fetching' as const }, failed!],
      [failed!, { ...fetching!, doing: 'fetching' as const }],
    ]) {
      await worker.exchange({ contexts: reports })
      assert.equal(await transfers(), 1)
    }
    await worker.exchange({ contexts: [fetching!, failed!] })
    assert.equal(await transfers(), 0)
    await worker.die()
  } finally {
    await manager.close()
    await removeState(folder)
  }
})

test('the status tells who is fetching which bundle from whom, until it is there', async () => {
  const folder = await makeState()
  const manager = await startOn(folder)
  try {
    const path = join(folder, 'own')
    await mkdir(path)
    await writeFile(join(path, 'a.js'), 'export const f = () => 1\n')
    await writeFile(join(path, 'context.yaml'), JSON.stringify(SPEC))
    const { id: context, bundles } = await registerContext(manager, path)
    const bundle = bundles.app!
    const [worker, other] = [await HttpWorker.register(manager), await HttpWorker.register(manager)]
    const transfers = async () =>
      (await ask<Status>(manager.url, manager.token, '/v1/status')).body.transfers.sort((a, b) =>
        a.worker < b.worker ? -1 : 1,
      )
    const tell = async ({ id, session }: HttpWorker, from: { source: string; bytes: number }[]) => {
      const request = { bundle, faults: [], heldBytes: 30, totalBytes: 100, from }
      return (await ask(manager.url, session, `/v1/workers/${id}/sources`, request)).status
    }

    assert.deepEqual(await transfers(), [])
    const from = [
      { source: 'manager', bytes: 10 },
      { source: other.id, bytes: 20 },
    ]
    assert.equal(await tell(worker, from), 200)
    assert.deepEqual(await transfers(), [{ worker: worker.id, bundle, heldBytes: 30, totalBytes: 100, from }])

    assert.equal(await tell(worker, [{ source: '\u001b[2J', bytes: 10 }]), 400, 'nothing a terminal acts on')
    await worker.exchange({ contexts: [{ context, level: 'disk', attempts: 1 }] })
    assert.deepEqual(await transfers(), [])
    await worker.die()
    await other.die()
  } finally {
    await manager.close()
    await removeState(folder)
  }
})
