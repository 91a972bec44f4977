import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { openWorks, resultsOf, type Works } from '../../faults/support/task-behaviour.ts'
import { until } from '../../support/until.ts'
import { type Network, openNetwork } from './network.ts'

/* Real workers on nodes of their own, and a manager that they reach over a network: so it speaks TLS. */

const LEASE_MS = 3_000
const LIMIT_MS = 120_000

let network: Network
let works: Works

beforeEach(async () => {
  network = openNetwork()
  works = await openWorks({
    listen: { host: network.address, port: 0 },
    scheduler: { workerTimeoutMs: LEASE_MS, suspectMs: 500 },
  })
})

afterEach(async () => {
  await works[Symbol.asyncDispose]()
  network[Symbol.dispose]()
})

const numbers = (count: number, ms: number) => Array.from({ length: count }, (_, value) => ({ ms, value }))
const lost = async () => (await works.client.status()).lost
const workers = async () => (await works.client.status()).workers

describe('on a network that fails', () => {
  test('a worker that was cut off longer than its lease comes back: each task has one result, and it works on', async () => {
    const [near, far] = [network.node(), network.node()]
    await using first = await works.worker({}, near.prefix)
    const job = await works.submit(numbers(400, 25))
    await until(async () => (await job.info()).done > 20, LIMIT_MS)
    near.cut()
    await using _second = await works.worker({}, far.prefix)
    await until(async () => (await lost()) === 1, LIMIT_MS)
    const before = (await job.info()).done
    await until(async () => (await job.info()).done > before + 20, LIMIT_MS)
    near.heal()
    const rows = await resultsOf(job, LIMIT_MS)
    assert.ok(rows.every(({ value }, i) => value === i))

    await until(async () => (await workers()).length === 2, LIMIT_MS)
    const next = await resultsOf(await works.submit(numbers(200, 20)), LIMIT_MS)
    assert.equal(new Set(next.map(({ worker }) => worker)).size, 2)
    assert.doesNotMatch(first.log(), /"level":60/)
  })

  test('a node that vanishes without a word loses only what it had in hand, and only until its lease ends', async () => {
    const [doomed, other] = [network.node(), network.node()]
    await using vanished = await works.worker({}, doomed.prefix)
    const job = await works.submit(numbers(200, 25))
    await until(async () => (await job.info()).done > 20, LIMIT_MS)
    // Cut first: the end of the process cannot be heard.
    doomed.cut()
    vanished.kill('SIGKILL')
    const cutAt = performance.now()
    await until(async () => (await lost()) === 1, LIMIT_MS)
    const noticedMs = performance.now() - cutAt
    assert.ok(noticedMs < 3 * LEASE_MS, `noticed after ${noticedMs} ms`)
    await using _other = await works.worker({}, other.prefix)
    const rows = await resultsOf(job, LIMIT_MS)
    assert.ok(rows.every(({ value }, i) => value === i))
  })

  test('nodes whose clocks are an hour fast and an hour slow work as others do, and leave at their own walltime', async () => {
    const [fast, slow] = [network.node(), network.node()]
    const at = (hours: number) => {
      const now = Date.now() / 1000 + hours * 3600
      const clock = ['faketime', '-f', `${hours > 0 ? '+' : '-'}3600s`]
      // By the node's clock, as everything that pilot.sh says.
      return { env: { GLEANER_STARTED: String(now), GLEANER_DEADLINE: String(now + 60) }, clock }
    }
    const crew = []
    for (const [node, hours] of [
      [fast, 1],
      [slow, -1],
    ] as const) {
      const { env, clock } = at(hours)
      crew.push(await works.worker(env, [...node.prefix, ...clock]))
    }
    await until(async () => (await workers()).length === 2, LIMIT_MS)
    const rows = await resultsOf(await works.submit(numbers(400, 20)), LIMIT_MS)
    assert.ok(rows.every(({ value }, i) => value === i))
    assert.equal(new Set(rows.map(({ worker }) => worker)).size, 2)
    const { now } = await works.client.status()
    for (const { deadline } of await workers()) {
      assert.ok(deadline! > now && deadline! < now + 60_000, `${deadline! - now} ms left`)
    }
    for (const worker of crew) {
      assert.deepEqual(await worker.exited, { code: 0, signal: null }, worker.log())
      await worker[Symbol.asyncDispose]()
    }
    assert.equal(await lost(), 0)
  })
})
