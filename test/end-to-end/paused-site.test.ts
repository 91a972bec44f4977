import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { SiteStatus } from '../../src/protocol/status.ts'
import type { JobExplanation } from '../../src/protocol/explanation.ts'
import { until } from '../support/until.ts'
import { plant, writeTasks } from './factory-fixture.ts'

const RUN = ['run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl', '--name', 'words']

describe('a site that a user pauses', () => {
  test('starts no pilots, which explains the jobs that wait, until it is resumed; and can be drained', async () => {
    await using here = await plant()
    await writeTasks(join(here.folder, 'tasks.jsonl'), 40)
    await here.start()
    const paused = await here.factory('sites', 'pause', 'here')
    assert.match(
      paused.stdout,
      /^site here submits no more pilots until "factory sites resume"/,
      paused.stderr,
    )

    const { ended } = here.begin(...RUN)
    const explain = async (...args: string[]) => (await here.factory('explain', ...args)).stdout
    await until(async () => (await explain('words')).includes('40 wait'))
    assert.match(
      await explain('words'),
      /- No worker is there, and no pilot is on its way\.\n- Site here: A user has paused it/,
    )
    assert.match(
      await explain('words', 't3'),
      /Task t3 waits for a worker\. It is behind 3 tasks of its own job\./,
    )
    assert.match(
      await explain('here'),
      /^site here \(local\) wants 2 pilots and has 0 running.*\n- A user has paused it/,
    )
    assert.match((await here.factory('sites')).stdout, /^here +local .* paused by a user/m)

    await here.factory('sites', 'resume', 'here')
    assert.equal((await ended).code, 0, (await ended).stderr)
    const after = JSON.parse(await explain('words', '--json')) as JobExplanation
    assert.deepEqual(
      after.reasons.map(({ code }) => code),
      ['finished'],
    )

    await here.factory('sites', 'drain', 'here')
    await until(async () => {
      const [site] = JSON.parse((await here.factory('sites', '--json')).stdout) as SiteStatus[]
      return site?.running === 0
    })
    const unknown = await here.factory('explain', 'wrods')
    assert.deepEqual([unknown.code, unknown.stdout], [2, ''])
    assert.match(unknown.stderr, /^factory: there is no job wrods, and no site of that name/)

    await here.factory('stop')
    const standstill = await here.factory('explain', 'words')
    assert.match(standstill.stdout, /^job 1 \(words\) is finished: 40 of 40 tasks/, standstill.stderr)
  })
})
