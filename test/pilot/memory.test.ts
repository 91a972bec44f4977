import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { memoryOf } from '../../src/pilot/memory.ts'

const time = { timeout: 20_000 }
const MIB = 2 ** 20
const SIZE_MIB = 64

/** Fills memory, and then says so. */
const FILL = `const filled = Buffer.alloc(${SIZE_MIB} << 20, 1); console.log(filled.length)`
/** Has a process of its own do it, from a thread that is not its first. */
const HAVE_IT_FILLED = `
const spawn = "require('node:child_process').spawn(process.execPath, ['--eval', process.env.FILL], { stdio: 'inherit' })"
new (require('node:worker_threads').Worker)(spawn, { eval: true })
setInterval(() => {}, 1000)`
/** Forks once it has filled memory: both hold the same pages. */
const SHARE = `
import os, sys, time
filled = bytearray(b"x") * (${SIZE_MIB} << 20)
child = os.fork()
if child: print("ready", flush=True)
time.sleep(60)`

async function start(program: string, args: string[]) {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, FILL: `${FILL}; setInterval(() => {}, 1000)` },
    detached: true,
  })
  await once(createInterface({ input: child.stdout }), 'line')
  return { child, [Symbol.dispose]: () => kill(child) }
}

function kill({ pid }: ChildProcess) {
  process.kill(-pid!, 'SIGKILL')
}

describe('the memory of a library', () => {
  test('is that of all processes it has started too', time, async () => {
    using family = await start(process.execPath, ['--eval', HAVE_IT_FILLED])
    assert.ok((await memoryOf(family.child.pid, Infinity)) > SIZE_MIB * MIB)
    const exact = await memoryOf(family.child.pid, 0)
    assert.ok(exact > SIZE_MIB * MIB && exact < 4 * SIZE_MIB * MIB, `${exact}`)
  })

  test('counts pages that processes share once, where it matters', time, async () => {
    using family = await start('python3', ['-c', SHARE])
    assert.ok((await memoryOf(family.child.pid, Infinity)) > 2 * SIZE_MIB * MIB)
    const exact = await memoryOf(family.child.pid, SIZE_MIB * MIB)
    assert.ok(exact > SIZE_MIB * MIB && exact < 1.5 * SIZE_MIB * MIB, `${exact}`)
  })

  test('is nothing for a process that is gone, or was never there', time, async () => {
    assert.equal(await memoryOf(undefined, 0), 0)
    assert.equal(await memoryOf(2 ** 22, 0), 0)
  })
})
