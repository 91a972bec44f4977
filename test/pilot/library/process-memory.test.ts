import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { watchDevices } from '../../../src/pilot/gpus/device-memory.ts'
import { deviceMemoryOf, memoryOf } from '../../../src/pilot/library/process-memory.ts'
import { childrenOf } from '../support/pilot-process.ts'

const time = { timeout: 180_000 }
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

  test('is on the GPUs what the driver says of it and all processes it has started', time, async () => {
    using family = await start(process.execPath, ['--eval', HAVE_IT_FILLED])
    const [child] = await childrenOf(family.child.pid!)
    const folder = await mkdtemp(path.join(tmpdir(), 'gleaner-driver-'))
    const lines = [
      `${family.child.pid}, 100`,
      `${child}, 20`,
      `${child}, 3`,
      '1, 4000',
      `${process.pid}, [N/A]`,
    ]
    const driver = `#!/bin/sh\ncat <<'END'\n${lines.join('\n')}\nEND\necho asked >>'${folder}/asked'\n`
    await writeFile(path.join(folder, 'nvidia-smi'), driver, { mode: 0o755 })
    const before = process.env['PATH']
    process.env['PATH'] = `${folder}:${before}`
    try {
      const devices = watchDevices('NVIDIA')
      await devices()
      assert.equal(await deviceMemoryOf(family.child.pid, await devices()), 123 * MIB)
      assert.equal(await readFile(path.join(folder, 'asked'), 'utf8'), 'asked\n', 'it is not asked each time')
    } finally {
      process.env['PATH'] = before
      await rm(folder, { recursive: true })
    }
    assert.equal((await watchDevices('NVIDIA')()).size, 0, 'without a driver nothing is known')
  })

  test('is nothing for a process that is gone, or was never there', time, async () => {
    assert.equal(await memoryOf(undefined, 0), 0)
    assert.equal(await memoryOf(2 ** 22, 0), 0)
  })
})
