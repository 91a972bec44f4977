import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  type ProcessEnd,
  attributeCrash,
  explainSetupError,
  MEMORY_LIMIT,
} from '../../../src/pilot/policy/crash-attribution.ts'
import type { InFlightCall } from '../../../src/pilot/tasks/in-flight-calls.ts'

const SEGFAULT: ProcessEnd = {
  phase: 'ready',
  exit: { code: null, signal: 'SIGSEGV', stderr: 'last words', output: 'some words, last words' },
  evicted: false,
  now: 1_000,
}

function call(task: number, more: Partial<InFlightCall> = {}): InFlightCall {
  const held = { task, lease: 1, context: 'c', function: 'f', input: task, alone: false, timeLimitMs: 50 }
  return { id: task, task: held, ...more }
}

const running = call(1, { begunAt: 900 })
const waiting = call(2)
const hung = call(3, { begunAt: 900, overdue: true })

/** Tasks that ended with the library by how they did, and those that were spared. */
function fates(death: ProcessEnd, ...calls: InFlightCall[]) {
  const { end, ended, spared } = attributeCrash(death, calls)
  return {
    end,
    ended: ended.map(({ call, outcome }) => [call.task.task, outcome.status]),
    spared: spared.map(({ task }) => task.task),
    errors: ended.map(({ outcome }) => (outcome.status === 'crash' ? outcome.error.name : undefined)),
  }
}

describe('when a library has died', () => {
  test('what had begun is charged with the reason, and what had not is spared', () => {
    const { end, ended, spared } = fates(SEGFAULT, running, waiting)
    assert.deepEqual(ended, [[1, 'crash']])
    assert.deepEqual(spared, [2])
    const error = { name: 'LibraryCrash', message: 'its library was killed by SIGSEGV', stack: 'last words' }
    assert.deepEqual(end, { how: 'died', idle: false, starved: false, error })
  })

  test('it ran out of memory if it says so, was killed by the system, or by the worker for that reason', () => {
    const starved = (changes: Partial<ProcessEnd>) => {
      const { end } = fates({ ...SEGFAULT, ...changes }, running)
      return end.how === 'died' && end.starved
    }
    const killed = { ...SEGFAULT.exit, signal: 'SIGKILL' as const }
    assert.equal(starved({ exit: killed }), true)
    assert.equal(starved({ exit: { ...SEGFAULT.exit, stderr: 'std::bad_alloc' } }), true)
    assert.equal(starved({ cause: { name: MEMORY_LIMIT, message: 'too much' } }), true)
    assert.equal(starved({ exit: killed, cause: { name: 'TimeLimit', message: 'too long' } }), false)
  })

  test('the last that it wrote is the log of what it is charged with, if it wrote anything', () => {
    const logs = ({ ended }: { ended: { log?: string }[] }) => ended.map(({ log }) => log)
    assert.deepEqual(logs(attributeCrash(SEGFAULT, [running, waiting])), ['some words, last words'])
    const silent = { ...SEGFAULT.exit, output: '' }
    assert.deepEqual(logs(attributeCrash({ ...SEGFAULT, exit: silent }, [running])), [undefined])
    assert.deepEqual(logs(attributeCrash({ ...SEGFAULT, phase: 'stopped' }, [running])), [undefined])
  })

  test('a call that met its time limit is the only one to blame', () => {
    const cause = { name: 'TimeLimit', message: 'a call met its time limit' }
    const { ended, spared, errors } = fates({ ...SEGFAULT, cause }, running, waiting, hung)
    assert.deepEqual(ended, [[3, 'crash']])
    assert.deepEqual(errors, ['TimeLimit'])
    assert.deepEqual(spared, [1, 2])
  })

  test('with nothing begun there is nothing to blame', () => {
    const { end, ended, spared } = fates(SEGFAULT, waiting)
    assert.deepEqual([end.how, ended, spared], ['died', [], [2]])
    assert.ok(end.how === 'died' && end.idle)
  })

  test('letting it go for its memory is no sign that it does not work', () => {
    const cause = { name: 'MemoryLimit', message: 'it used too much' }
    const { end } = fates({ ...SEGFAULT, phase: 'retiring', cause })
    assert.ok(end.how === 'died' && !end.idle)
  })

  test('before it was ready its setup has failed', () => {
    assert.equal(fates({ ...SEGFAULT, phase: 'setup' }, waiting).end.how, 'unready')
  })

  test('because the node is taken back, no call is charged', () => {
    const { end, ended } = fates({ ...SEGFAULT, evicted: true }, running, waiting)
    assert.deepEqual(ended, [
      [1, 'returned'],
      [2, 'returned'],
    ])
    assert.equal(end.how, 'retired')
  })

  test('a node that is taken back is no excuse for a library that ends by itself', () => {
    const exit = { code: 1, signal: null, stderr: '', output: '' }
    assert.deepEqual(fates({ ...SEGFAULT, evicted: true, exit }, running).ended, [[1, 'crash']])
  })

  test('because it was told to, all is as it should be', () => {
    const exit = { code: 0, signal: null, stderr: '', output: '' }
    assert.deepEqual(fates({ ...SEGFAULT, phase: 'retiring', exit }).end, { how: 'retired' })
    assert.deepEqual(fates({ ...SEGFAULT, phase: 'stopped' }, running).ended, [[1, 'returned']])
  })
})

describe('a want of memory', () => {
  const messageOf = (exit: Partial<ProcessEnd['exit']>) => {
    const { end } = attributeCrash({ ...SEGFAULT, exit: { ...SEGFAULT.exit, ...exit } }, [])
    assert.ok(end.how === 'died')
    return end.error.message
  }

  test('is named where a library says or shows that it died of it', () => {
    const advice = 'ask for pilots with more memory'
    assert.equal(
      messageOf({ signal: 'SIGKILL' }),
      `its library was killed by SIGKILL, as systems do that are out of memory: ${advice}`,
    )
    const heap = { signal: 'SIGABRT', stderr: 'FATAL ERROR: JavaScript heap out of memory' } as const
    assert.equal(messageOf(heap), `its library was killed by SIGABRT, out of memory: ${advice}`)
    assert.equal(messageOf({ signal: null, code: 1, stderr: 'ValueError' }), 'its library exited with code 1')
  })

  test('that ends a setup is said as such, in front of what names a file', () => {
    const error = {
      name: 'Error',
      message:
        '/cache/node_modules/onnxruntime-node/libonnxruntime.so.1: failed to map segment from shared object',
    }
    assert.equal(
      explainSetupError(error, 512).message,
      `the context needs more memory than there is; its slot has 512 MiB: ask for pilots with more memory (${error.message})`,
    )
    const other = { name: 'Error', message: 'no such file' }
    assert.equal(explainSetupError(other, 512), other)
  })
})
