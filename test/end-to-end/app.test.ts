import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { generateClaims } from '../../scripts/generate-claims.ts'
import { connect, DependencyError, JobStuckError, RemoteError, type Client } from '../../src/client/index.ts'
import { until } from '../support/until.ts'
import { makeProject, runApp } from './app/project.ts'
import { plant, type Plant } from './factory-fixture.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

describe('an application', () => {
  let here: Plant
  let factory: Client

  before(async () => {
    here = await plant('sites: { here: { kind: local, count: 1 } }')
    await here.start()
    factory = connect({ state: here.state })
  })
  after(async () => {
    await factory.close()
    await here[Symbol.asyncDispose]()
  })
  const arithmetic = () =>
    factory.app<typeof import('./app/arithmetic.ts')>('./app/arithmetic.ts', { context: ['load', 100] })
  const linesOf = async (file: string) =>
    (await readFile(file, 'utf8').catch(() => '')).split('\n').slice(0, -1)

  test('calls the functions of its own module, with values of all kinds', async () => {
    const { add, shape } = arithmetic()
    assert.equal(await add(1, 2), 103)
    const seen = await shape({ at: new Date(5), bytes: new Uint8Array([1, 2]), seen: new Set(['a']) })
    assert.deepEqual(seen, new Map([[new Date(5), { length: 2, seen: ['a'], last: Buffer.from([1, 2]) }]]))
  })

  test('makes graphs of calls, in which a failure fails what depends on it', async () => {
    const { add, fail, length } = arithmetic()
    const leaves = Array.from({ length: 8 }, (_, i) => add(i))
    assert.equal(await add(...leaves), 100 + 8 * 100 + 28)
    await assert.rejects(length(fail('luck')), (error: DependencyError) => {
      assert.ok(error instanceof DependencyError)
      const { cause } = error
      assert.ok(cause instanceof RemoteError)
      assert.deepEqual([cause.name, cause.message, cause.crashed], ['RangeError', 'no luck today', false])
      assert.match(cause.stack!, /at fail \(.*\/test\/end-to-end\/app\/arithmetic\.ts:\d+:\d+\)$/)
      assert.match(cause.worker!, /^w\d+$/)
      assert.ok(cause.node)
      return true
    })
  })

  test('hears what led to an error, as errors that stand where they were thrown', async () => {
    const error = (await arithmetic()
      .open('a', 'b')
      .catch((error: unknown) => error)) as RemoteError
    assert.ok(error instanceof RemoteError)
    assert.deepEqual([error.name, error.message], ['AggregateError', 'nothing can be opened'])
    for (const [i, each] of [error.cause as Error, ...error.errors!].entries()) {
      assert.ok(each instanceof Error)
      assert.deepEqual([each.name, each.message], ['FileError', `there is no ${['a', 'a', 'b'][i]}`])
      assert.match(each.stack!, /at read \(.*\/test\/end-to-end\/app\/arithmetic\.ts:\d+:\d+\)/)
      assert.doesNotMatch(each.stack!, /remote/)
      assert.equal((each.cause as Error).message, 'nobody wrote it')
    }
  })

  test('stays warm for the next one, and for other functions', async () => {
    await using second = connect({ state: here.state })
    const again = second.app<typeof import('./app/arithmetic.ts')>(
      new URL('./app/arithmetic.ts', import.meta.url),
    )
    const pid = await again.pid.with({ context: ['load', 100] })()
    assert.equal(pid, await arithmetic().pid())
    const contexts = (await factory.contexts()).filter(({ name }) => name.startsWith('arithmetic-'))
    assert.equal(contexts.length, 1)
    assert.notEqual(pid, await again.pid.with({ context: ['load', 200] })())
  })

  test('cancels calls it needs no more: those that wait are not run', async () => {
    const log = join(here.folder, 'cancelled.log')
    const stop = new AbortController()
    const slowly = arithmetic().slowly.with({ signal: stop.signal })
    const first = slowly(log, 'first', 500)
    await until(async () => (await linesOf(log)).length === 1)
    const others = Array.from({ length: 50 }, (_, i) => slowly(log, `other ${i}`, 200))
    const settled = Promise.allSettled([first, ...others])
    await until(() => others.every(({ state }) => state === 'queued'))
    await until(async () => (await factory.jobs()).some(({ tasks }) => tasks === 51))
    stop.abort(new Error('enough'))
    assert.ok(
      (await settled).every((end) => end.status === 'rejected' && String(end.reason) === 'Error: enough'),
    )
    await until(async () =>
      (await factory.jobs()).some(({ tasks, failed, done }) => tasks === 51 && failed + done === 51),
    )
    assert.ok((await linesOf(log)).length < 20)
  })

  test('maps thousands of items', async () => {
    let sum = 0
    for await (const { value } of arithmetic().add.map(Array.from({ length: 5_000 }, (_, i) => i)))
      sum += value!
    assert.equal(sum, 5_000 * 100 + (5_000 * 4_999) / 2)
  })

  test('sees how far its calls are, where they run, and what they say themselves', async () => {
    const { halves, length } = arithmetic()
    const file = join(here.folder, 'go-on')
    const future = halves(10, file)
    const after = length(future.then(String))
    assert.deepEqual([future.progress.state, after.progress], ['queued', { state: 'waiting', attempt: 0 }])
    await until(() => future.progress.done === 5)
    const { worker, node, ms, ...rest } = future.progress
    assert.deepEqual(rest, { state: 'running', attempt: 1, done: 5, total: 10 })
    assert.match(worker!, /^w\d+$/)
    assert.ok(node && ms! >= 0)
    const waiting = arithmetic().add(1)
    await until(() => waiting.progress.attempt === 1)
    await writeFile(file, '')
    assert.deepEqual([await future, await after, await waiting], [10, 2, 101])
    assert.equal(future.progress.state, 'done')
  })

  test('needs no folder that the factory sees, only where it listens and its token', async () => {
    const { url, token } = JSON.parse(await readFile(join(here.state, 'endpoint.json'), 'utf8')) as {
      url: string
      token: string
    }
    await using far = connect({ url, token })
    const app = far.app<typeof import('./app/numbers.ts')>('./app/numbers.ts')
    assert.equal(await app.sum([1, 2, 3]), 6)
  })

  test('sets retries and time limits, call by call', async () => {
    const { slowly, fail } = arithmetic()
    const log = join(here.folder, 'options.log')
    const late = slowly.with({ timeLimitMs: 200 })(log, 'late', 60_000)
    await assert.rejects(late, (error: RemoteError) => error.crashed && /after 200 ms/.test(error.message))
    assert.equal(await slowly(log, 'in time', 1), 'in time')
    await assert.rejects(fail.with({ retries: 1, priority: 5 })('luck'), { name: 'RangeError' })
    const job = { job: 'one name' }
    assert.equal(await slowly.with(job)(log, 'a', 1), 'a')
    await assert.rejects(slowly.with({ ...job, retries: 1 })(log, 'b', 1), /name another job/)
  })

  test('that ends without closing its client leaves its job finished', async () => {
    const folder = join(here.folder, 'short')
    await makeProject(folder, {
      'work.ts': `export const twice = (n: number) => 2 * n`,
      'app.ts': `
        import { connect } from 'gleaner'
        const factory = await connect()
        const { twice } = factory.app<typeof import('./work.ts')>('./work.ts', { job: 'short' })
        console.log(await twice(4))`,
    })
    const { stdout, stderr } = await runApp(folder, here.state, ['app.ts'])
    assert.equal(stdout, '8\n', stderr)
    const job = (await factory.jobs()).find(({ name }) => name.startsWith('short/twice'))
    assert.equal(job?.state, 'finished')
  })

  test('hears why its context cannot be set up, and what is wrong with its module', async () => {
    const app = factory.app<typeof import('./app/arithmetic.ts')>('./app/arithmetic.ts')
    await assert.rejects(app.add.with({ context: ['fail', 'luck'] })(1), (error: JobStuckError) => {
      assert.ok(error instanceof JobStuckError)
      return /cannot be set up: no luck today/.test(error.message)
    })
    await assert.rejects(app.add(1), /no setup has run here/)
    const none = factory.app<{ f: () => void }>('./app/absent.ts')
    await assert.rejects(none.f(), /absent\.ts cannot be bundled/)
    const other = factory.app<{ f: () => void }>('./app/arithmetic.ts', { context: ['nothing'] as never })
    await assert.rejects(other.f(), /no setup function "nothing"; it exports add, /)
  })

  test('that is killed and started again takes up its job: no call that has ended runs again', async () => {
    const log = join(here.folder, 'resumed.log')
    const folder = join(here.folder, 'resume')
    await makeProject(folder, {
      'work.ts': `
        import { appendFileSync } from 'node:fs'
        export const work = async (log: string, n: number) => {
          await new Promise((resolve) => setTimeout(resolve, 20))
          appendFileSync(log, n + '\\n')
          return n
        }`,
      'app.ts': `
        import { connect } from 'gleaner'
        await using factory = connect()
        const { work } = factory.app<typeof import('./work.ts')>('./work.ts', { job: 'resume' })
        const all = await Promise.all(Array.from({ length: 200 }, (_, n) => work(process.argv[2]!, n)))
        console.log(all.reduce((a, b) => a + b, 0))`,
    })
    const env = { ...process.env, GLEANER_STATE: here.state }
    const killed = spawn(process.execPath, ['app.ts', log], { cwd: folder, env, stdio: 'ignore' })
    await until(async () => (await linesOf(log)).length > 20)
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    const { stdout, stderr, code } = await runApp(folder, here.state, ['app.ts', log])
    assert.deepEqual([code, stdout], [0, '19900\n'], stderr)
    const numbers = await linesOf(log)
    assert.deepEqual([numbers.length, new Set(numbers).size], [200, 200])
  })

  test('verifies claims with a model that goes along, loaded by its own code and packages with compiled parts', async () => {
    const folder = join(here.folder, 'verify')
    const read = (name: string) => readFile(join(ROOT, 'templates', 'fact-verification-app', name), 'utf8')
    await makeProject(folder, { 'model.ts': await read('model.ts'), 'app.ts': await read('app.ts') })
    const claims = [...generateClaims({ split: 'held-out', count: 100 })].map((claim) =>
      JSON.stringify(claim),
    )
    const model = join(ROOT, 'templates', 'fact-verification', 'model')
    const { stdout, stderr, code } = await runApp(folder, here.state, ['app.ts', model], claims.join('\n'))
    assert.equal(code, 0, stderr)
    const answers = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { label: string; answer: string })
    assert.equal(answers.length, 100)
    const right = answers.filter(({ label, answer }) => label === answer).length
    assert.ok(right >= 80, `${right} of 100 are right`)
  })
})
