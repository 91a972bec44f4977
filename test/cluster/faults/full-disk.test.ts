import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { toFailure } from '../../../src/cli/exit/failure.ts'
import type { AddTasksResponse, JobInfo, ResultsResponse } from '../../../src/protocol/client.ts'
import { ask, HttpWorker, makeState, removeState, startOn } from '../../support/manager.ts'
import { until } from '../../support/until.ts'

/* A disk that is really full: a small one of its own, which takes root to mount. */

let disk: string
let state: string

beforeEach(async () => {
  disk = await mkdtemp(join(tmpdir(), 'gleaner-disk-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'gleaner-test', disk])
  const made = await makeState()
  state = join(disk, 'state')
  await cp(made, state, { recursive: true })
  await removeState(made)
})

afterEach(async () => {
  execFileSync('umount', [disk])
  await rm(disk, { recursive: true })
})

/** Fills the disk to the last byte. */
async function fill(): Promise<void> {
  await writeFile(join(disk, 'ballast'), Buffer.alloc(8 << 20)).catch((error: NodeJS.ErrnoException) => {
    assert.equal(error.code, 'ENOSPC')
  })
}

const makeRoom = () => rm(join(disk, 'ballast'))

describe('on a full disk', () => {
  test('tasks are refused, results wait until there is room, and nothing acknowledged is lost', async (t) => {
    const manager = await startOn(state)
    t.after(() => manager.close())
    const user = <T>(path: string, body?: unknown) => ask<T>(manager.url, manager.token, path, body)
    const { body: job } = await user<JobInfo>('/v1/jobs', { name: 'job', context: 'ctx' })
    let added = 0
    const add = async (text: string) => {
      const tasks = Array.from({ length: 20 }, (_, i) => ({ key: `${added + i}`, input: text }))
      const { status, body } = await user<AddTasksResponse>(`/v1/jobs/${job.id}/tasks`, { tasks })
      if (status === 200) added += body.added
      return status
    }
    assert.equal(await add('small'), 200)
    const worker = await HttpWorker.register(manager)
    const { lease, tasks: leased } = (await worker.exchange({ room: 20 })).body.leases[0]!

    await fill()
    let status = 200
    while (status === 200) status = await add('x'.repeat(2_000))
    assert.equal(status, 507)
    const value = 'y'.repeat(10_000)
    let acknowledged = false
    const results = leased.map(({ task }) => ({
      task,
      lease,
      outcome: { status: 'done' as const, value },
      ms: 1,
    }))
    const reporting = worker.exchange({ results }).then(() => (acknowledged = true))
    await until(async () => (await user('/v1/status')).status === 200)
    assert.equal(acknowledged, false)

    await makeRoom()
    await reporting
    assert.equal(await worker.workUntilIdle(), added - leased.length)
    await manager.close()
    const again = await startOn(state)
    const { body } = await ask<ResultsResponse>(
      again.url,
      again.token,
      `/v1/jobs/${job.id}/results?limit=20000`,
    )
    assert.equal(new Set(body.results.map(({ key }) => key)).size, added)
    assert.equal(body.results.length, added)
    assert.equal(body.results.filter((row) => row.value === value).length, leased.length)
    await worker.die()
    await again.close()
  })

  test('a start ends with a line that says so, and succeeds once there is room', async () => {
    await fill()
    await assert.rejects(startOn(state), (error) => {
      assert.match(toFailure(error).message, /the disk is full: free some space/)
      return true
    })
    await makeRoom()
    await (await startOn(state)).close()
  })
})
