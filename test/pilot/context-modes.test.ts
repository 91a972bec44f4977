import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import type { ContextMode } from '../../src/protocol/contexts/context.ts'
import { until } from '../support/until.ts'
import { startTestManager, type TestManager } from './support/test-manager.ts'
import { isAlive, startWorker } from './support/pilot-process.ts'
import { loaded } from './support/worker-stage.ts'

/** Its function says in which process and with which copy of the file it ran. */
const WHERE = {
  'index.js': `
    import { statSync } from 'node:fs'
    export const run = () => ({
      process: process.pid,
      file: import.meta.filename,
      written: statSync(import.meta.filename).birthtimeMs,
    })`,
}
const TASKS = 4

interface Place {
  process: number
  file: string
  written: number
}

/** Runs some tasks in a mode; says how many processes and how many copies of the files they had, and the most leased at once. */
async function runIn(mode: ContextMode, env: Record<string, string> = {}) {
  await using manager = await startTestManager()
  manager.terms.contextMode = mode
  await using worker = await startWorker(manager, env)
  const context = await manager.addContext(WHERE)
  const tasks = manager.submit(context, Array<number>(TASKS).fill(0))
  manager.warm = [context]
  await manager.ended(tasks)
  assert.deepEqual(manager.violations, [])
  assert.equal(manager.outcomes.size, TASKS)
  const places = tasks.map((task) => placeOf(manager, task))
  const inHand = Math.max(...manager.exchanges.map(({ leases }) => leases.length))
  const times = manager.exchanges.at(-1)!.contexts.find((report) => report.context === context)!
  const other = await manager.addContext({ ...WHERE, 'other.txt': '' })
  manager.warm = [other]
  manager.wake()
  await loaded(manager, other)
  const scratch = () => readdir(path.join(worker.folder, 'scratch'))
  const isGone = async () =>
    places.every(({ process }) => !isAlive(process)) &&
    (await scratch()).every((name) => !name.includes(context.slice(0, 12)))
  if (mode !== 'pervasive') await until(isGone)
  return {
    libraries: new Set(places.map(({ process }) => process)).size,
    copies: new Set(places.map(({ file, written }) => `${file} ${written}`)).size,
    rests: !(await isGone()),
    left: places.some(({ file }) => existsSync(file)),
    inHand,
    times,
  }
}

function placeOf(manager: TestManager, task: number): Place {
  const outcome = manager.outcomes.get(task)!.at(-1)!.outcome
  assert.equal(outcome.status, 'done')
  return outcome.value as unknown as Place
}

describe('what outlives a task', () => {
  test('in mode none is nothing: each task fetches, loads and drops', async () => {
    const { libraries, copies, rests, left, inHand, times } = await runIn('none')
    assert.deepEqual(
      { libraries, copies, rests, left },
      { libraries: TASKS, copies: TASKS, rests: false, left: false },
    )
    assert.ok(inHand <= 1, `${inHand} leases at once`)
    assert.ok(times.fetchMs! > 0 && times.loadMs! > 0)
  })

  test('in mode disk are the files: each task loads', async () => {
    const { libraries, copies, rests, left, inHand } = await runIn('disk')
    assert.deepEqual(
      { libraries, copies, rests, left },
      { libraries: TASKS, copies: 1, rests: false, left: true },
    )
    assert.ok(inHand <= 1, `${inHand} leases at once`)
  })

  test('in mode pervasive is all', async () => {
    const { libraries, copies, rests, left } = await runIn('pervasive')
    assert.deepEqual({ libraries, copies, rests, left }, { libraries: 1, copies: 1, rests: true, left: true })
  })

  test('in mode none is nothing on any slot of a node', async () => {
    const { libraries, copies } = await runIn('none', { GLEANER_GPUS: '0,1' })
    assert.deepEqual({ libraries, copies }, { libraries: TASKS, copies: TASKS })
  })
})
