import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { signTicket } from '../../src/bundle/format/ticket.ts'
import { Ledger } from '../../src/manager/ledger/ledger.ts'
import type { SourcesResponse } from '../../src/protocol/piece-sources.ts'
import { openByHand } from '../bundle/support/scripted-source.ts'
import { ask, HttpWorker, managerForEachTest, registerContext, startOn } from '../support/manager.ts'

const here = managerForEachTest()

/** Registers a context with a bundle of its own, and returns the bundle. */
async function addBundle(name: string): Promise<string> {
  const path = join(here.folder, name)
  await mkdir(path)
  await writeFile(join(path, 'a.js'), `export const f = () => '${name}'\n`)
  const context = { name, library: 'module', bundles: { app: '.' }, setup: { bundle: 'app', file: 'a.js' } }
  await writeFile(
    join(path, 'context.yaml'),
    JSON.stringify({ ...context, functions: { f: { export: 'f' } } }),
  )
  return (await registerContext(here.manager, path)).bundles.app!
}

/** The manager's own key, as somebody has it who has read the ledger. */
async function managersKey() {
  await here.manager.close()
  const ledger = new Ledger(join(here.folder, 'ledger.db'), pino({ level: 'silent' }))
  const pem = ledger.metaOrNew('ticket-key', () => assert.fail('the manager has made none'))
  await ledger.close()
  here.manager = await startOn(here.folder)
  return createPrivateKey(pem)
}

async function statusFor(bundle: string, ticket: string): Promise<number> {
  using opened = await openByHand(here.manager.url, bundle, ticket)
  return opened.status
}

test('a ticket opens the one bundle that it names, and only as the manager signed it', async () => {
  const [own, other] = [await addBundle('own'), await addBundle('other')]
  const worker = await HttpWorker.register(here.manager)
  const path = `/v1/workers/${worker.id}/sources`
  const { body } = await ask<SourcesResponse>(here.manager.url, worker.session, path, {
    bundle: own,
    faults: [],
  })
  const { ticket } = body.sources[0]!
  assert.equal(await statusFor(own, ticket), 101)
  assert.equal(await statusFor(other, ticket), 403)

  const key = await managersKey()
  const { privateKey: strangersKey } = generateKeyPairSync('ed25519')
  const inAnHour = Date.now() + 3_600_000
  const refused = {
    expired: signTicket(key, { bundle: own, notAfter: Date.now() - 60_000 }),
    'signed by somebody else': signTicket(strangersKey, { bundle: own, notAfter: inAnHour }),
    changed: ticket.slice(0, -2) + (ticket.endsWith('AA') ? 'BB' : 'AA'),
    longer: `${ticket}AAAA`,
    'a session': worker.session,
    'the user’s token': here.manager.token,
  }
  for (const [what, text] of Object.entries(refused)) assert.equal(await statusFor(own, text), 403, what)
  assert.equal(await statusFor(own, signTicket(key, { bundle: own, notAfter: inAnHour })), 101)
  await worker.die()
})

test('a worker is told of no source for a bundle in the name of another worker', async () => {
  const bundle = await addBundle('own')
  const [worker, other] = [await HttpWorker.register(here.manager), await HttpWorker.register(here.manager)]
  const path = `/v1/workers/${worker.id}/sources`
  const { status } = await ask(here.manager.url, other.session, path, { bundle, faults: [] })
  assert.equal(status, 401)
  await worker.die()
  await other.die()
})
