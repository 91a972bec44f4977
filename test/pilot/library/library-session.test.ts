import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, test } from 'node:test'
import {
  addLease,
  matching,
  queuedIn,
  takeReport,
  unfinishedIn,
} from '../../../src/pilot/tasks/task-queue.ts'
import { until } from '../../support/until.ts'
import { isAlive } from '../support/pilot-process.ts'
import { begin, CONTEXT, ended, lease, logs, outcomes, WAIT_FOR_FILE } from './session-stage.ts'

describe('a library', () => {
  test('runs its setup once, says so, and answers calls with what the setup made', async () => {
    await using stage = await begin(
      `let setups = 0
       export const make = () => ({ setups: ++setups })
       export const run = (x, context) => [x, context.setups]`,
      [lease([1, 2, 3])],
      { call: 'make' },
    )
    const { level, memory } = await stage.ready
    assert.equal(level, 'memory')
    assert.ok(memory! > 2 ** 20, `${memory} bytes`)
    await ended(stage, 3)
    assert.deepEqual(
      [...outcomes(stage)],
      [1, 2, 3].map((x) => [x, { status: 'done', value: [x, 1] }]),
    )
  })

  test('what a call prints goes with its outcome', async () => {
    await using stage = await begin(
      `export function run(x) { if (x > 1) console.log('at', x); if (x > 2) throw new Error('stop'); return x }`,
      [lease([1, 2, 3])],
    )
    await ended(stage, 3)
    assert.deepEqual([...logs(stage).values()], [undefined, 'at 2\n', 'at 3\n'])
  })

  test('an error of one task leaves the others as they are', async () => {
    await using stage = await begin(
      `export function run(x) { if (x === 2) throw new TypeError('no 2'); return x }`,
      [lease([1, 2, 3])],
    )
    await ended(stage, 3)
    const found = outcomes(stage)
    assert.equal(found.get(1)?.status, 'done')
    assert.equal(found.get(3)?.status, 'done')
    const failed = found.get(2)
    assert.ok(failed?.status === 'error')
    assert.deepEqual([failed.error.name, failed.error.message], ['TypeError', 'no 2'])
  })

  test('sees no secrets, and only its slot’s devices', async () => {
    process.env['GLEANER_TEST'] = process.env['SOME_TOKEN'] = process.env['GLEANER_TOKEN_FILE'] = 'secret'
    process.env['HARMLESS'] = 'yes'
    await using stage = await begin(`export const run = () => process.env`, [lease([0])], {
      env: { CUDA_VISIBLE_DEVICES: '3' },
    })
    await ended(stage, 1)
    const outcome = outcomes(stage).get(1)
    assert.ok(outcome?.status === 'done')
    const env = outcome.value as Record<string, string>
    assert.ok(!Object.values(env).includes('secret'), 'a secret is in its environment')
    assert.equal(env['HARMLESS'], 'yes')
    assert.equal(env['CUDA_VISIBLE_DEVICES'], '3')
    assert.equal(env['TMPDIR'], stage.folder)
  })

  test('a task that must be alone runs with nothing beside it', async () => {
    const source = 'export const run = (xs) => xs.map((x) => [x, xs.length])'
    const together = lease([1, 2, 3, 4])
    const alone = { ...lease([5, 6], { alone: true }), lease: 2 }
    alone.tasks.forEach((task, i) => (task.task = 5 + i))
    await using stage = await begin(source, [together, alone], {
      functions: { run: { export: 'run', batch: 8 } },
    })
    await ended(stage, 6)
    const sizes = [...outcomes(stage).values()].map((outcome) => outcome.status === 'done' && outcome.value)
    assert.deepEqual(sizes.toSorted(), [
      [1, 4],
      [2, 4],
      [3, 4],
      [4, 4],
      [5, 1],
      [6, 1],
    ])
  })

  test('a task that must be alone waits for the others to end, and they for it', async () => {
    await using stage = await begin(WAIT_FOR_FILE)
    await stage.ready
    const [first, second, third] = ['1', '2', '3'].map((name) => path.join(stage.folder, name))
    const feedWith = (id: number, file: string, alone: boolean) => {
      addLease(stage.taskQueue, { ...lease([file], { alone }), lease: id })
      stage.feed()
      return stage.session.calls
    }
    assert.equal(feedWith(1, first!, false), 1)
    assert.equal(feedWith(2, second!, true), 1, 'it was sent beside another')
    await writeFile(first!, '')
    await ended(stage, 1)
    assert.equal(stage.session.calls, 1)
    assert.equal(feedWith(3, third!, false), 1, 'another was sent beside it')
    await writeFile(second!, '')
    await ended(stage, 2)
    assert.equal(stage.session.calls, 1)
  })

  test('told to retire, it ends what it has and takes no more', async () => {
    await using stage = await begin(
      `export const run = (x) => new Promise((done) => setTimeout(done, 100, x))`,
      [lease([1, 2, 3, 4, 5])],
      { window: 2 },
    )
    await stage.ready
    stage.session.retire()
    assert.deepEqual(await stage.session.over, { how: 'retired' })
    assert.deepEqual([...outcomes(stage).keys()], [1, 2])
    assert.equal(queuedIn(stage.taskQueue, CONTEXT), 3)
  })

  test('stopped, it hands back what it has', async () => {
    await using stage = await begin(
      `export const run = () => new Promise(() => setInterval(() => {}, 1e6))`,
      [lease([1, 2])],
    )
    await stage.ready
    stage.session.stop()
    assert.deepEqual(await stage.session.over, { how: 'retired' })
    assert.deepEqual([...outcomes(stage).values()], [{ status: 'returned' }, { status: 'returned' }])
  })

  test('forgets calls that are no longer needed, but ends the one that runs', async () => {
    await using stage = await begin(WAIT_FOR_FILE)
    await stage.ready
    const go = path.join(stage.folder, 'go')
    addLease(stage.taskQueue, lease([go, go, go, go]))
    stage.feed()
    assert.equal(stage.session.calls, 4)
    stage.session.forget(matching([2, 3], []), matching([2, 3], []))
    assert.equal(stage.session.calls, 2)
    await writeFile(go, '')
    await ended(stage, 2)
    assert.deepEqual([...outcomes(stage).keys()], [1, 4])
    assert.equal(await readFile(`${go}.runs`, 'utf8'), 'xx', 'it ran what was forgotten')
    assert.equal(unfinishedIn(stage.taskQueue, CONTEXT), 0)
    assert.deepEqual(takeReport(stage.taskQueue).leases, [])
  })
})

describe('a library whose setup fails', () => {
  test('says why', async () => {
    await using stage = await begin(
      `export function make() { throw new RangeError('no such model') }
       export const run = () => 1`,
      [lease([1])],
      { call: 'make' },
    )
    const end = await stage.session.over
    assert.ok(end.how === 'unready')
    assert.deepEqual([end.error.name, end.error.message], ['RangeError', 'no such model'])
    assert.equal(queuedIn(stage.taskQueue, CONTEXT), 1, 'the task is not to blame')
  })

  test('says in which bundle, by its name in the context instead of its folder', async () => {
    await using stage = await begin(
      `import { readFileSync } from 'node:fs'
       export function make() { readFileSync(new URL('gone.txt', import.meta.url)) }
       export const run = () => 1`,
      [],
      { call: 'make' },
    )
    const end = await stage.session.over
    assert.ok(end.how === 'unready')
    assert.match(end.error.message, /'bundle code: gone\.txt'/)
  })

  test('by dying is told with its last words', async () => {
    await using stage = await begin(`process.stderr.write('out of luck\\n'); process.exit(3)`)
    const end = await stage.session.over
    assert.ok(end.how === 'unready')
    assert.match(end.error.message, /exited with code 3/)
    assert.match(end.error.stack ?? '', /out of luck/)
  })

  test('by never ending meets its time limit', async () => {
    await using stage = await begin(`await new Promise(() => setInterval(() => {}, 1e6))`, [], {
      setupLimitMs: 500,
    })
    const end = await stage.session.over
    assert.ok(end.how === 'unready')
    assert.equal(end.error.name, 'SetupTimeLimit')
  })

  test('by taking more memory than its slot has is told what it takes', async () => {
    await using stage = await begin(
      `const held = Buffer.alloc(300 * 2 ** 20, 1)
       export const run = () => held.length`,
      [],
      { memoryLimit: 2 ** 28 },
    )
    const end = await stage.session.over
    assert.ok(end.how === 'unready')
    assert.match(end.error.message, /takes \d+ MiB, and its slot has 256/)
  })
})

describe('a library that dies', () => {
  test('charges the calls that had begun, with the reason, and gives the others back', async () => {
    await using stage = await begin(
      `export async function run(x) {
         if (x === 'fatal') { process.stderr.write('cannot go on\\n'); process.abort() }
         return x
       }`,
      [lease(['a', 'fatal', 'b', 'c'])],
    )
    const end = await stage.session.over
    assert.ok(end.how === 'died' && !end.idle)
    const found = outcomes(stage)
    assert.equal(found.get(1)?.status, 'done')
    const crash = found.get(2)
    assert.ok(crash?.status === 'crash')
    assert.match(crash.error.message, /killed by SIGABRT/)
    assert.match(crash.error.stack ?? '', /cannot go on/)
    assert.match(logs(stage).get(2) ?? '', /^cannot go on\n/)
    assert.equal(found.size + queuedIn(stage.taskQueue, CONTEXT), 4)
  })

  test('with nothing begun charges no task', async () => {
    await using stage = await begin(
      `setTimeout(() => process.exit(5), 200)
       export const run = () => 1`,
    )
    await stage.ready
    const end = await stage.session.over
    assert.ok(end.how === 'died' && end.idle)
    assert.match(end.error.message, /exited with code 5/)
  })

  test('while the node is taken back charges no task either', async () => {
    await using stage = await begin(
      `export const run = () => { setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100); return new Promise(() => {}) }`,
      [lease([1, 2])],
    )
    await stage.ready
    stage.evict()
    await stage.session.over
    assert.deepEqual([...outcomes(stage).values()], [{ status: 'returned' }, { status: 'returned' }])
  })

  test('takes with it what it had started', async () => {
    await using stage = await begin(
      `import { spawn } from 'node:child_process'
       import { writeFileSync } from 'node:fs'
       export function run(file) {
         const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
         writeFileSync(file, String(child.pid))
         process.abort()
       }`,
    )
    await stage.ready
    const file = path.join(stage.folder, 'pid')
    addLease(stage.taskQueue, lease([file]))
    stage.feed()
    await stage.session.over
    const pid = Number(await readFile(file, 'utf8'))
    await until(() => !isAlive(pid))
  })

  test('by breaking the protocol is not trusted any further', async () => {
    await using stage = await begin(
      `import { writeSync } from 'node:fs'
       export const run = () => { writeSync(3, 'hello\\n'); return new Promise(() => setInterval(() => {}, 1e6)) }`,
      [lease([1])],
    )
    const end = await stage.session.over
    assert.ok(end.how === 'died')
    assert.equal(outcomes(stage).get(1)?.status, 'crash')
    assert.match(end.error.message, /not JSON/)
  })
})

describe('a library that leaks', () => {
  test('is ended between calls once it is over its memory, and no call is charged', async () => {
    await using stage = await begin(
      `const leak = []
       export const run = (x) => new Promise((done) => setTimeout(() => {
         leak.push(Buffer.alloc(20 * 2 ** 20, 1))
         done(x)
       }, 20))`,
      [lease(Array.from({ length: 500 }, (_, i) => i))],
      { memoryLimit: 400 * 2 ** 20, window: 2 },
    )
    const end = await stage.session.over
    assert.ok(end.how === 'died' && !end.idle)
    assert.equal(end.error.name, 'MemoryLimit')
    const found = outcomes(stage)
    assert.ok(found.size > 5 && [...found.values()].every(({ status }) => status === 'done'))
    assert.equal(queuedIn(stage.taskQueue, CONTEXT), 500 - found.size)
  })
})
