import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { request } from 'undici'
import { pino } from 'pino'
import type { ManagerOptions } from '../../src/manager/manager.ts'
import { openStore } from '../../src/bundle/store/store.ts'
import { connect as connectClient } from '../../src/client/index.ts'
import type { JobInfo } from '../../src/protocol/client.ts'
import { startRelay } from '../../src/relay/relay.ts'
import { dialAddress } from '../../src/common/tunnel/forward.ts'
import { createThrottle } from '../../src/common/tunnel/throttle.ts'
import { startWorker } from '../pilot/support/pilot-process.ts'
import { ask, makeState, registerContext, removeState, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'

const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' })
const WEIGHTS = 8 << 20

/** A manager, a context with some weights, and a relay that the pilots of its only site go through. */
async function stage(options: Pick<ManagerOptions, 'contextMode'> = {}) {
  const state = await makeState()
  const manager = await startOn(state, { mayOpenShells: () => true, hasRelay: () => true, ...options })
  const folder = path.join(state, 'length')
  await mkdir(path.join(folder, 'code'), { recursive: true })
  await writeFile(path.join(folder, 'code', 'length.mjs'), 'export const length = (text) => text.length')
  await writeFile(path.join(folder, 'code', 'weights.bin'), randomBytes(WEIGHTS))
  const yaml = [
    'name: length',
    'bundles: { code: code }',
    'library: module',
    'setup: { bundle: code, file: length.mjs }',
    'functions: { length: { export: length } }',
  ]
  await writeFile(path.join(folder, 'context.yaml'), yaml.join('\n'))
  const { bundles } = await registerContext(manager, folder)
  const store = await openStore({ folder: path.join(state, 'relay'), log })
  const relay = await startRelay({
    listen: { hosts: ['127.0.0.1'], port: 0 },
    dial: () => dialAddress({ host: '127.0.0.1', port: Number(new URL(manager.url).port) }),
    protocol: 'http:',
    store,
    log,
  })
  const address = `127.0.0.1:${relay.port}`
  const pilot = () =>
    startWorker(
      { url: `http://${address}`, token: manager.registry.create('test', 1)[0]!.token },
      { GLEANER_SHELL: 'yes' },
    )
  let closed: Promise<void> | undefined
  const close = () => (closed ??= manager.close())
  return {
    manager,
    close,
    relay,
    bundle: bundles['code']!,
    url: `http://${address}`,
    pilot,
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      await close()
      await removeState(state)
    },
  }
}

describe('a relay', () => {
  test('carries pilots’ work and shells, and brings a bundle over the link to the manager once', async () => {
    await using here = await stage()
    const { manager, relay } = here
    await using _first = await here.pilot()
    await using _second = await here.pilot()
    const { body: job } = await ask<JobInfo>(manager.url, manager.token, '/v1/jobs', {
      name: 'job',
      context: 'length',
    })
    const tasks = Array.from({ length: 50 }, (_, i) => ({ key: String(i), input: 'x'.repeat(i) }))
    await ask(manager.url, manager.token, `/v1/jobs/${job.id}/tasks`, { tasks })
    await using client = connectClient({ url: manager.url, token: manager.token })
    await until(async () => (await client.job(job.id).info()).done === tasks.length)
    await until(async () => {
      const { workers } = await client.status()
      return (
        workers.length === 2 &&
        workers.every(({ contexts }) => contexts.some(({ level }) => level !== 'absent'))
      )
    })
    const { fromManager } = relay.crossed
    assert.ok(
      fromManager > WEIGHTS && fromManager < WEIGHTS * 1.2,
      `${fromManager} bytes came from the manager`,
    )

    const output: Buffer[] = []
    const shell = await client.openShell('p1', {
      command: ['sh', '-c', 'echo through; exit 4'],
      onOutput: (bytes) => output.push(bytes) > 0,
    })
    assert.deepEqual(await shell.ended, { code: 4, signal: 0 })
    assert.equal(Buffer.concat(output).toString(), 'through\n')
  })

  test('gives pieces to pilots that keep nothing, too, which take them from no other pilot', async () => {
    await using here = await stage({ contextMode: 'none' })
    const { manager, relay } = here
    await using _pilot = await here.pilot()
    await using client = connectClient({ url: manager.url, token: manager.token })
    const job = await client.createJob({ name: 'job', context: 'length' })
    await job.add(['a', 'b'].map((key) => ({ key, input: key })))
    await job.close()
    await until(async () => (await job.info()).done === 2)
    assert.ok(relay.crossed.fromManager < WEIGHTS * 1.2, `${relay.crossed.fromManager} bytes`)
  })

  test('gives pieces for no ticket but one that the manager finds good', async () => {
    await using here = await stage()
    const path = `/v1/pieces/${here.bundle}/manifest`
    for (const headers of [{}, { authorization: 'Bearer forged' }]) {
      const { statusCode, body } = await request(here.url + path, { headers })
      await body.dump()
      assert.equal(statusCode, 403)
    }
  })

  test('closes connections with their manager, and such as say nothing sensible', async () => {
    await using here = await stage()
    const socket = connect(here.relay.port, '127.0.0.1')
    socket.on('error', () => {}).write('GET /v1/pieces/\r\n\r\n')
    socket.resume()
    await once(socket, 'close')
    const idle = connect(here.relay.port, '127.0.0.1')
    idle.on('error', () => {}).write('POST /v1/workers HTTP/1.1\r\n')
    idle.resume()
    const gone = once(idle, 'close')
    await here.close()
    await gone
  })
})

describe('a throttle', () => {
  test('lets several streams pass no more than their limit together', async () => {
    const throttle = createThrottle(1_000_000)
    const since = performance.now()
    const send = async () => {
      const stream = throttle.stream()
      stream.resume()
      for (let i = 0; i < 10; i++) stream.write(Buffer.alloc(10_000))
      stream.end()
      await once(stream, 'end')
    }
    await Promise.all([send(), send(), send()])
    // 300,000 bytes, less what may pass at once.
    assert.ok(performance.now() - since >= 250)
  })
})
