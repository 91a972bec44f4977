import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Agent, request } from 'undici'
import { foreignUser, toOwnListener } from '../../src/common/listener-owner.ts'

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
const socket = (local: string, remote: string, state: string, uid: number) =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000 ${uid} 0 1 1`
const table = (...sockets: string[]) => [HEAD, ...sockets].join('\n')
const NONE = '00000000:0000'

/** A process, perhaps another user's, that answers every request. */
const SERVER = `
  // Only now: another user may not be able to read this program.
  process.setuid(Number(process.argv[1]))
  const server = require('node:http').createServer((_, answer) => answer.end('mine now'))
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
  process.stdin.resume().on('end', () => process.exit())
`
async function serveAs(uid: number) {
  const child = spawn(process.execPath, ['-e', SERVER, String(uid)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return { url: `http://127.0.0.1:${Number(port)}`, [Symbol.dispose]: () => void child.kill() }
}

describe('who listens at a port of this machine', () => {
  const ports = { local: 0x9000, remote: 0x2694 }
  const trusted = new Set([0, 1000])
  const foreign = (...sockets: string[]) => foreignUser(table(...sockets), ports, trusted)

  test('is another user, by the socket that listens or the one that has taken the connection', () => {
    for (const address of ['0100007F', '00000000', '0'.repeat(32), `${'0'.repeat(24)}01000000`])
      assert.equal(foreign(socket(`${address}:2694`, NONE, '0A', 1001)), 1001, address)
    assert.equal(
      foreign(
        socket('0100007F:2694', NONE, '0A', 1000),
        socket('0100007F:2694', '0100007F:9000', '01', 1001),
      ),
      1001,
    )
  })

  test('is this user or root, whatever others do at other ports, addresses and connections', () => {
    assert.equal(
      foreign(
        socket('0100007F:2694', NONE, '0A', 1000),
        socket('0100007F:2694', '0100007F:9000', '01', 0),
        socket('0100007F:2695', NONE, '0A', 1001),
        socket('0500000A:2694', NONE, '0A', 1001),
        socket('0100007F:9000', '0100007F:2694', '01', 1001),
        socket('0100007F:2694', '0100007F:9001', '01', 1001),
      ),
      undefined,
    )
  })

  test('is spoken to only if it is not another user', async (t) => {
    const own = process.getuid!()
    const agent = new Agent({ connect: toOwnListener({ timeout: 600_000 }) })
    t.after(() => agent.close())
    using mine = await serveAs(own)
    const { body } = await request(mine.url, { dispatcher: agent })
    assert.equal(await body.text(), 'mine now')
    // Only root can be another user here.
    if (own !== 0) return
    using theirs = await serveAs(65_534)
    await assert.rejects(request(theirs.url, { dispatcher: agent }), /another user \(uid 65534\) listens/)
    const asked = new Agent({ connect: toOwnListener({ timeout: 600_000 }, { owner: 65_534 }) })
    t.after(() => asked.close())
    const answer = await request(theirs.url, { dispatcher: asked })
    assert.equal(await answer.body.text(), 'mine now', 'root asks for the manager of that user')
    const script =
      'import http.client, sys; from gleaner.connection.transport import _check_owner; ' +
      'c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])); c.connect(); _check_owner(c, None)'
    const python = (url: string) =>
      spawnSync('python3', ['-B', '-c', script, new URL(url).port], {
        env: { ...process.env, PYTHONPATH: 'src/client/python' },
        encoding: 'utf8',
      })
    assert.equal(python(mine.url).status, 0)
    assert.match(python(theirs.url).stderr, /another user \(uid 65534\) listens/)
    const proxied = new Agent({ connect: toOwnListener({ timeout: 600_000 }, { isManager: () => false }) })
    t.after(() => proxied.close())
    assert.equal((await request(theirs.url, { dispatcher: proxied })).statusCode, 200)
  })
})
