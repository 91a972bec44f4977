import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { until } from '../support/until.ts'
import { openWorks, resultsOf } from './support/task-behaviour.ts'

/** Carries bytes between a worker and the manager, until it is told to lose an answer. */
async function openProxy(to: string) {
  let lose = 0
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(new URL(to).port), '127.0.0.1')
    let doomed = false
    near.on('data', (chunk) => {
      // Only an answer to results that is lost can make them be sent twice.
      if (lose > 0 && chunk.includes('"results":[{')) {
        lose--
        doomed = true
      }
      far.write(chunk)
    })
    far.on('data', (chunk) => {
      if (doomed) near.destroy()
      else near.write(chunk)
    })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {}).on('close', () => other.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** The next so many answers to results are lost. */
    loseAnswers: (count: number) => (lose = count),
    get left() {
      return lose
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('a worker', () => {
  test('whose answers are lost reports again: every task is done once, and no result is doubled', async () => {
    await using works = await openWorks({ scheduler: { suspectMs: 10_000 } })
    using proxy = await openProxy(works.url)
    await using _worker = await works.worker({ GLEANER_MANAGER: proxy.url })
    const job = await works.submit(Array.from({ length: 300 }, (_, value) => ({ ms: 10, value })))
    await until(async () => (await job.info()).done > 10)
    proxy.loseAnswers(5)
    const rows = await resultsOf(job)
    assert.equal(proxy.left, 0)
    assert.ok(rows.every(({ value }, i) => value === i))
    const { duplicates, workers } = await works.client.status()
    assert.deepEqual([duplicates, workers.length], [0, 1])
  })

  test('stopped past its lease that then goes on: what it had is done once, and it works on', async () => {
    await using works = await openWorks()
    await using paused = await works.worker()
    const job = await works.submit(Array.from({ length: 60 }, (_, value) => ({ ms: 50, value })))
    await until(async () => (await job.info()).done > 5)
    const libraries = await paused.libraries()
    paused.kill('SIGSTOP')
    for (const pid of libraries) process.kill(pid, 'SIGSTOP')
    await using _other = await works.worker()
    await until(async () => (await works.client.status()).lost >= 1)
    await until(async () => (await job.info()).done > 20)
    paused.kill('SIGCONT')
    for (const pid of libraries) process.kill(pid, 'SIGCONT')
    const rows = await resultsOf(job)
    assert.deepEqual(
      rows.map(({ value }) => value),
      rows.map((_, i) => i),
    )
    await until(async () => (await works.client.status()).workers.length === 2)
    const next = await resultsOf(
      await works.submit(Array.from({ length: 100 }, (_, value) => ({ ms: 20, value }))),
    )
    assert.equal(new Set(next.map(({ worker }) => worker)).size, 2)
  })
})
