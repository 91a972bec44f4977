import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { openTransports } from '../../../../src/factory/transports/open-transports.ts'
import { cuttingProxy } from './cutting-proxy.ts'
import { batchSiteAt } from './ssh-site.ts'
import { knownHost, noSshd, startSshd } from './sshd.ts'

const patient = () => AbortSignal.timeout(180_000)

test(
  'sites of one submit node, however it is written, have one connection, and send what they both need once',
  { skip: noSshd },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'gleaner-shared-'))
    t.after(() => rmSync(folder, { recursive: true }))
    await using sshd = await startSshd()
    await using proxy = await cuttingProxy(sshd.port)
    writeFileSync(sshd.knownHosts, knownHost(`[127.0.0.1]:${proxy.port}`, sshd.hostKey))
    using transports = openTransports(folder)
    const ssh = `login:${proxy.port}`
    const sites = [ssh, [ssh]].map((ssh) => batchSiteAt(sshd, folder, { ssh }))
    assert.equal(transports.link(sites[0]!), transports.link(sites[1]!))

    const content = randomBytes(4 << 20)
    const path = join(folder, 'runtime.tar.gz')
    writeFileSync(path, content)
    const runtime = { path, sha256: createHash('sha256').update(content).digest('hex') }
    const places = await Promise.all(
      sites.map((site) => transports.of(site, [], 'f').files.deliver(runtime, patient())),
    )
    assert.equal(places[0], places[1])
    assert.deepEqual(readFileSync(places[0]!), content)
    assert.ok(proxy.passed < 1.5 * content.length, `${proxy.passed} bytes crossed`)
  },
)
