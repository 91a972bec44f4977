import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { readFileLines, type Line } from '../../src/common/read-lines.ts'

describe('reading lines', () => {
  let folder = ''
  before(async () => void (folder = await mkdtemp(join(tmpdir(), 'gleaner-lines-'))))
  after(() => rm(folder, { recursive: true }))

  async function linesOf(content: Buffer, longest: number): Promise<Line[]> {
    const path = join(folder, 'file')
    await writeFile(path, content)
    const lines: Line[] = []
    for await (const line of readFileLines(path, longest)) lines.push(line)
    return lines
  }

  test('gives back every byte between newlines, and tells a torn last line from a whole one', async () => {
    const byte = fc.oneof(fc.constant(0x0a), fc.integer({ min: 0, max: 255 }))
    await fc.assert(
      fc.asyncProperty(fc.array(byte, { maxLength: 200 }), async (bytes) => {
        const lines = await linesOf(Buffer.from(bytes), 1000)
        const joined = lines.map(({ bytes: line, ended }) =>
          Buffer.concat([line, Buffer.from(ended ? '\n' : '')]),
        )
        assert.deepEqual([...Buffer.concat(joined)], bytes)
        assert.deepEqual(
          lines.map(({ number }) => number),
          lines.map((_, i) => i + 1),
        )
        assert.ok(lines.slice(0, -1).every(({ ended }) => ended))
      }),
    )
  })

  test('joins a line that spans chunks, and keeps only the beginning of one that is too long', async () => {
    const long = 'x'.repeat(3 << 20)
    const content = Buffer.from(`a\n${long}\nb\n`)
    const whole = await linesOf(content, 4 << 20)
    assert.deepEqual(
      whole.map(({ bytes }) => bytes.length),
      [1, 3 << 20, 1],
    )
    const cut = await linesOf(content, 10)
    assert.deepEqual(
      cut.map(({ bytes }) => bytes.length),
      [1, 11, 1],
    )
  })
})
