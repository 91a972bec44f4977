import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { type Memory, memoryInUse } from '../../scripts/support/memory.ts'

const MIB = 2 ** 20
const growthSince = (before: Memory) => (memoryInUse().live - before.live) / MIB

describe('the memory in use', () => {
  test('has what is alive in it once, and not what is garbage', () => {
    const before = memoryInUse()
    const held = [Buffer.alloc(64 * MIB, 1), new Array<number>((16 * MIB) / 8).fill(0.5)]
    Buffer.alloc(64 * MIB, 1)
    const grown = growthSince(before)
    assert.ok(grown > 79 && grown < 85, `${grown} MiB`)
    held.length = 0
    assert.ok(growthSince(before) < 1)
  })

  test('is told by another process that the probe was loaded into', async () => {
    const probe = new URL('../../scripts/support/memory-probe.ts', import.meta.url).href
    const program =
      'globalThis.held = Buffer.alloc(64 << 20, 1); setInterval(() => {}, 1000); console.log("ready")'
    const child = spawn(process.execPath, ['--import', probe, '--eval', program], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    })
    try {
      await once(child.stdout!, 'data')
      const lines = createInterface({ input: child.stdio[3] as Readable })
      const line = once(lines, 'line')
      child.kill('SIGUSR2')
      const { live, rss, rssWithGarbage } = JSON.parse(((await line) as [string])[0]) as Memory
      assert.ok(live > 64 * MIB && live < 96 * MIB, `${live} bytes`)
      assert.ok(rss > live && rssWithGarbage > live)
    } finally {
      child.kill('SIGKILL')
    }
  })
})
