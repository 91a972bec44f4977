import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import type { JobInfo, ResultsResponse } from '../../src/protocol/client.ts'
import type { Status } from '../../src/protocol/status.ts'
import { ask, makeState, registerContext, removeState, startOn } from '../support/manager.ts'
import { until } from '../support/until.ts'
import { startWorker } from './support/pilot-process.ts'

const TASKS = 2_000

/** A real manager with a context whose function takes a millisecond and squares its input. */
async function startReal() {
  const state = await makeState()
  const manager = await startOn(state)
  const folder = path.join(state, 'square')
  await mkdir(path.join(folder, 'code'), { recursive: true })
  await writeFile(
    path.join(folder, 'code', 'square.mjs'),
    'export const square = (x) => new Promise((done) => setTimeout(done, 1, x * x))',
  )
  const yaml = [
    'name: square',
    'bundles: { code: code }',
    'library: module',
    'setup: { bundle: code, file: square.mjs }',
    'functions: { square: { export: square } }',
  ]
  await writeFile(path.join(folder, 'context.yaml'), yaml.join('\n'))
  await registerContext(manager, folder)
  const pilot = () => ({ url: manager.url, token: manager.registry.create('test', 1)[0]!.token })
  const get = <T>(route: string) => ask<T>(manager.url, manager.token, route).then(({ body }) => body)
  const post = <T>(route: string, body: unknown) =>
    ask<T>(manager.url, manager.token, route, body).then((answer) => answer.body)
  return {
    pilot,
    get,
    post,
    async [Symbol.asyncDispose]() {
      await manager.close()
      await removeState(state)
    },
  }
}

describe('workers of a real manager', () => {
  test('do every task exactly once, though one is killed and one is evicted on the way', async () => {
    await using manager = await startReal()
    await using killed = await startWorker(manager.pilot())
    await using evicted = await startWorker(manager.pilot())
    const job = await manager.post<JobInfo>('/v1/jobs', { name: 'job', context: 'square' })
    const tasks = Array.from({ length: TASKS }, (_, i) => ({ key: String(i), input: i }))
    await manager.post(`/v1/jobs/${job.id}/tasks`, { tasks })
    await manager.post(`/v1/jobs/${job.id}/close`, {})
    const done = async () => (await manager.get<JobInfo>(`/v1/jobs/${job.id}`)).done
    await until(async () => (await done()) > 50)
    killed.kill('SIGKILL')
    evicted.kill('SIGTERM')
    assert.deepEqual(await evicted.exited, { code: 0, signal: null }, evicted.log())
    await using _replacement = await startWorker(manager.pilot())
    await until(async () => (await done()) === TASKS)
    const { results } = await manager.get<ResultsResponse>(
      `/v1/jobs/${job.id}/results?after=0&limit=${TASKS + 1}`,
    )
    assert.deepEqual(
      results.map(({ key, value }) => [Number(key), value]).toSorted(([a], [b]) => Number(a) - Number(b)),
      tasks.map(({ input }) => [input, input * input]),
    )
    const { duplicates, tasks: counts } = await manager.get<Status>('/v1/status')
    assert.deepEqual({ duplicates, failed: counts.failed }, { duplicates: 0, failed: 0 })
  })
})
