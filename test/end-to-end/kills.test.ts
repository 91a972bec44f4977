import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../support/until.ts'
import { kill, plant, readIds, writeTasks, type Plant } from './factory-fixture.ts'

const RUN = ['run', 'tasks.jsonl', '--context', 'words', '--out', 'results.jsonl']
const LIMIT_MS = 120_000

interface Ready extends Plant {
  results: string
  /** Where each call of a task leaves its id. */
  calls: string
}

async function readyPlant(tasks: number): Promise<Ready> {
  const made = await plant()
  const calls = join(made.folder, 'calls.log')
  await writeTasks(join(made.folder, 'tasks.jsonl'), tasks, { log: calls })
  return { ...made, results: join(made.folder, 'results.jsonl'), calls }
}

const readCalls = async (file: string) => (await readFile(file, 'utf8')).trimEnd().split('\n')

function assertEachOnce(ids: string[], count: number): void {
  assert.equal(ids.length, count)
  assert.equal(new Set(ids).size, count)
}

test('a run that is killed goes on with the same command: no line twice, no finished task again', async () => {
  await using here = await readyPlant(2_000)
  await here.start()
  for (const share of [300, 900]) {
    const run = here.begin(...RUN)
    await until(async () => (await readIds(here.results)).length >= share, LIMIT_MS)
    kill(run.child.pid!)
    await run.ended
  }
  const { code, stdout, stderr } = await here.factory(...RUN)
  assert.deepEqual([code, stderr.includes('factory:')], [0, false], stderr)
  assert.match(stdout, /^2,000 done, 0 failed/)
  assertEachOnce(await readIds(here.results), 2_000)
  assertEachOnce(await readCalls(here.calls), 2_000)
})

test('a factory that is killed goes on at its next start: the run waits for it and loses nothing', async () => {
  await using here = await readyPlant(2_000)
  const first = await here.start()
  const run = here.begin(...RUN)
  await until(async () => (await readIds(here.results)).length >= 500, LIMIT_MS)
  kill(first.child.pid!)
  await first.ended
  const finished = await readIds(here.results)
  await here.start()

  const { code, stdout, stderr } = await run.ended
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^2,000 done, 0 failed/)
  assertEachOnce(await readIds(here.results), 2_000)
  const calls = await readCalls(here.calls)
  const again = finished.filter((id) => calls.indexOf(id) !== calls.lastIndexOf(id))
  assert.deepEqual(again, [], 'tasks whose results were there have been run again')
})

test('pilots killed at random for a whole run of 10,000 tasks: exactly 10,000 results', async () => {
  await using here = await readyPlant(10_000)
  await here.start()
  const run = here.begin(...RUN)
  let running = true
  const ended = run.ended.finally(() => (running = false))
  let kills = 0
  // A pilot is killed each time so many more tasks are done: however slow the machine is, work goes on in between.
  for (let killAt = 500; running;) {
    await Promise.race([delay(100 + Math.random() * 400), ended])
    const { workers, jobs } = await here.status()
    if ((jobs[0]?.done ?? 0) < killAt) continue
    const busy = workers.filter(({ leased, state }) => leased > 0 && state === 'active')
    const victim = busy[Math.floor(Math.random() * busy.length)]
    const pid = victim && (await here.pilots()).get(victim.pilot)
    if (!running || pid === undefined || !kill(-pid)) continue
    kills++
    killAt = jobs[0]!.done + 1_000
  }
  const { code, stdout, stderr } = await ended
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^10,000 done, 0 failed/)
  assertEachOnce(await readIds(here.results), 10_000)
  assert.ok(kills >= 5, `only ${kills} pilots were killed`)
})
