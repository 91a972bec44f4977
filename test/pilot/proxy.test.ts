import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { test } from 'node:test'
import { createBundle } from '../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../src/bundle/download/fetch-bundle.ts'
import { createManagerClient } from '../../src/pilot/uplink/manager-client.ts'
import { listen } from '../support/listen.ts'
import { log, sourceOf, startNode, temporaryFolder, writeTree } from '../bundle/support/cluster.ts'

/** A proxy as centres have them: it tunnels, and forwards requests but none that are to become something else. */
async function startProxy() {
  const tunnels: string[] = []
  const server = createServer((_request, response) => response.writeHead(501).end())
  server.on('connect', ({ url }, client: Duplex, head: Buffer) => {
    tunnels.push(url!)
    const [host, port] = url!.split(':')
    const upstream = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      upstream.write(head)
      upstream.pipe(client).pipe(upstream)
    })
    upstream.on('error', () => client.destroy())
    client.on('error', () => upstream.destroy())
  })
  return Object.assign(await listen(server), { tunnels })
}

test('pieces come from the manager through a proxy', async (t) => {
  await using temporary = await temporaryFolder()
  const folder = (name: string) => path.join(temporary.folder, name)
  await writeTree(folder('source'), { 'weights.bin': 1_000_000 })
  await using manager = await startNode(folder('manager'))
  const { id } = await createBundle({ store: manager.store, paths: [folder('source')], kind: 'files' })
  await using proxy = await startProxy()
  const before = process.env['http_proxy']
  process.env['http_proxy'] = proxy.url
  t.after(() => {
    if (before === undefined) delete process.env['http_proxy']
    else process.env['http_proxy'] = before
  })
  const client = createManagerClient({
    origins: [manager.url],
    certificate: undefined,
    patienceMs: 1_000,
    log,
  })
  await using worker = await startNode(folder('worker'))
  const { from } = await fetchBundle({
    bundle: id,
    store: worker.store,
    log,
    connect: client.connect,
    sources: () => Promise.resolve([sourceOf('manager', manager, id)]),
    signal: AbortSignal.timeout(180_000),
  })
  await client.close()
  assert.deepEqual(from, [{ source: 'manager', bytes: 1_000_000 }])
  assert.deepEqual([...new Set(proxy.tunnels)], [new URL(manager.url).host])
})
