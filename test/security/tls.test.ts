import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { pino } from 'pino'
import { generate } from 'selfsigned'
import { connect } from '../../src/client/index.ts'
import type { Manager } from '../../src/manager/manager.ts'
import { CertificateError, isLoopback, ownCertificate } from '../../src/manager/http/tls.ts'
import { createManagerClient } from '../../src/pilot/uplink/manager-client.ts'
import { workerRoutes } from '../../src/protocol/routes/worker-routes.ts'
import { makeState, registration, removeState, startOn } from '../support/manager.ts'

let folder: string
let manager: Manager & { token: string }

beforeEach(async () => {
  folder = await makeState()
  manager = await startOn(folder, { listen: { host: '0.0.0.0', port: 0 }, advertise: '127.0.0.1' })
})

afterEach(async () => {
  await manager.close()
  await removeState(folder)
})

const port = () => Number(new URL(manager.url).port)
const ownCa = () => readFile(manager.caFile!, 'utf8')

/** The certificate of somebody else who calls themselves the manager. */
async function foreignCa(): Promise<string> {
  const other = await makeState()
  const { cert } = await ownCertificate(other, ['127.0.0.1'])
  await removeState(other)
  return cert
}

describe('a manager that listens beyond loopback', () => {
  test('speaks TLS with a certificate of its own, whose key only its owner reads', async () => {
    assert.match(manager.url, /^https:\/\/127\.0\.0\.1:/)
    assert.equal((await stat(join(folder, 'manager.key'))).mode & 0o777, 0o600)
    assert.match(await ownCa(), /^-----BEGIN CERTIFICATE-----/)
    const before = await ownCa()
    await manager.close()
    manager = await startOn(folder, { listen: { host: '0.0.0.0', port: 0 }, advertise: '127.0.0.1' })
    assert.equal(await ownCa(), before)
  })

  test('is found by clients that read the state folder or are given the certificate', async () => {
    const { url, token } = manager
    const ca = await ownCa()
    for (const options of [{ state: folder }, { url, token, ca }]) {
      await using client = connect(options)
      assert.equal((await client.status()).workers.length, 0)
    }
  })

  test('is trusted by its certificate, whatever name it is reached by', async () => {
    // 127.0.0.2 reaches it too, and is not among the names in the certificate.
    const url = `https://127.0.0.2:${port()}`
    await using client = connect({ url, token: manager.token, ca: await ownCa() })
    assert.equal((await client.status()).workers.length, 0)
  })

  test('is not believed by a client or a pilot that trusts another certificate, or none', async () => {
    const { url, token } = manager
    const foreign = await foreignCa()
    for (const ca of [{ ca: foreign }, {}]) {
      await using client = connect({ url, token, patienceMs: 0, ...ca })
      await assert.rejects(client.status(), /cannot be reached.*(self-signed|unable to verify|certificate)/)
    }
    const { token: pilot } = manager.registry.create('test', 1)[0]!
    const register = async (certificate: string) => {
      const log = pino({ level: 'silent' })
      const link = createManagerClient({ origins: [url], certificate, patienceMs: 0, log })
      link.authorise(pilot)
      return link.call(workerRoutes.register, { body: registration() }).finally(() => link.close())
    }
    await assert.rejects(register(foreign), /cannot be reached/)
    // The token was not shown to the stranger, nor spent.
    assert.match((await register(await ownCa())).worker, /^w/)
  })

  test('says nothing to who speaks plain HTTP, or a version of TLS that is broken', async () => {
    const plain = connectTcp(port(), '127.0.0.1')
    plain.on('error', () => {})
    plain.write(`GET /v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${manager.token}\r\n\r\n`)
    assert.doesNotMatch(await text(plain).catch(() => ''), /version|startedAt/)
    const old = connectTls({ port: port(), host: '127.0.0.1', ca: await ownCa(), maxVersion: 'TLSv1.1' })
    const { promise, reject } = Promise.withResolvers<never>()
    old.on('error', reject)
    await assert.rejects(promise, /protocol|version|alert/i)
  })
})

test('only loopback addresses are safe without TLS', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) assert.ok(isLoopback(host), host)
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.org', 'localhost.example.org', '']) {
    assert.ok(!isLoopback(host), host)
  }
})

describe('the certificate of a manager', () => {
  test('is good at all times, so that no clock that was wrong on the day it was made locks anybody out', async () => {
    const { validFromDate, validToDate } = new X509Certificate(await ownCa())
    assert.ok(validFromDate.getTime() <= Date.UTC(2020) && validToDate.getTime() >= Date.UTC(9999))
  })

  test('is made anew if it is one that is not good yet, or soon not any more', async () => {
    const [day, now] = [24 * 3_600_000, Date.now()]
    for (const [from, to, isKept] of [
      [now + day, now + 3650 * day, false],
      [now - 3650 * day, now - day, false],
      [now - 3650 * day, now + 30 * day, false],
      [now - day, now + 3650 * day, true],
    ] as const) {
      const made = await generate([{ name: 'commonName', value: 'gleaner manager' }], {
        keyType: 'ec',
        notBeforeDate: new Date(from),
        notAfterDate: new Date(to),
      })
      await writeFile(join(folder, 'manager.key'), made.private)
      await writeFile(join(folder, 'manager.crt'), made.cert)
      const { cert, key } = await ownCertificate(folder, ['127.0.0.1'])
      assert.equal(cert === made.cert, isKept)
      assert.ok(new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)))
      assert.equal(await readFile(join(folder, 'manager.crt'), 'utf8'), cert)
    }
  })

  test('is left as it is if it is damaged or its key is not its own, and the error names the file and what to do', async () => {
    const certFile = join(folder, 'manager.crt')
    const keyFile = join(folder, 'manager.key')
    const [cert, key] = [await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')]
    const other = await generate([{ name: 'commonName', value: 'gleaner manager' }], { keyType: 'ec' })
    for (const [badCert, badKey] of [
      ['', key],
      [cert.slice(0, 200), key],
      [cert, ''],
      [cert, key.slice(0, 100)],
      [cert, other.private],
    ] as const) {
      await writeFile(certFile, badCert)
      await writeFile(keyFile, badKey)
      await assert.rejects(
        () => ownCertificate(folder, ['127.0.0.1']),
        (error) =>
          error instanceof CertificateError &&
          error.message.startsWith(`${certFile} and manager.key beside it`),
      )
      assert.deepEqual([await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')], [badCert, badKey])
    }
  })
})
