import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect } from 'node:net'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test, type TestContext } from 'node:test'
import { generate } from 'selfsigned'
import { createBundle } from '../../src/bundle/create/create-bundle.ts'
import { fetchBundle } from '../../src/bundle/download/fetch-bundle.ts'
import { createManagerClient } from '../../src/pilot/uplink/manager-client.ts'
import { workerRoutes } from '../../src/protocol/routes/worker-routes.ts'
import { listen } from '../support/listen.ts'
import { startSocks } from '../support/socks-proxy.ts'
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

function setVariable(t: TestContext, name: string, value: string): void {
  const before = process.env[name]
  process.env[name] = value
  t.after(() => {
    if (before === undefined) delete process.env[name]
    else process.env[name] = before
  })
}

test('pieces come from the manager through a proxy', async (t) => {
  await using temporary = await temporaryFolder()
  const folder = (name: string) => path.join(temporary.folder, name)
  await writeTree(folder('source'), { 'weights.bin': 1_000_000 })
  await using manager = await startNode(folder('manager'))
  const { id } = await createBundle({ store: manager.store, paths: [folder('source')], kind: 'files' })
  await using proxy = await startProxy()
  setVariable(t, 'http_proxy', proxy.url)
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

test('a manager is reached through a SOCKS proxy, which looks up its name, and is known by its certificate', async (t) => {
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'submit.example' }], {
    keyType: 'ec',
    curve: 'P-256',
  })
  const server = createTlsServer({ key, cert }, (_request, response) => response.end('hello'))
  server.on('upgrade', (_request, socket: Duplex) => {
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: words\r\n\r\nhello')
  })
  await using manager = await listen(server)
  await using proxy = await startSocks(Number(new URL(manager.url).port), { name: 'me', password: 'p@ss' })
  const open = () =>
    createManagerClient({ origins: ['https://manager.invalid:9700'], certificate: cert, patienceMs: 0, log })
  setVariable(t, 'ALL_PROXY', proxy.url.replace('http://', 'socks5h://me:p%40ss@'))
  const blob = { params: { worker: 'w1', sha256: '0'.repeat(64) } }
  const client = open()
  let said = ''
  await client.get(workerRoutes.workerBlob, blob, async (bytes) => void (said = await text(bytes)))
  assert.equal(said, 'hello')
  assert.equal(
    await text(
      await client.upgrade(workerRoutes.joinShell, { params: { worker: 'w1', shell: 'a' } }, 'words'),
    ),
    'hello',
  )
  await client.close()
  assert.deepEqual([...new Set(proxy.asked)], ['manager.invalid:9700'])

  process.env['ALL_PROXY'] = proxy.url.replace('http://', 'socks5h://me:wrong@')
  const refused = open()
  await assert.rejects(
    refused.get(workerRoutes.workerBlob, blob, () => Promise.resolve()),
    (error: Error) => {
      assert.match(error.message, /the proxy socks5h:\/\/127\.0\.0\.1:\d+: .*[Aa]uthentication/)
      assert.doesNotMatch(error.message, /wrong/)
      return true
    },
  )
  await refused.close()
})
