import { open, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { readLines } from '../../common/read-lines.ts'
import { parseExactly, stringifyExactly } from '../../protocol/json/exact-numbers.ts'
import type { OutRow } from './table-columns.ts'

/** Rows that wait on the disk until all of them are known. */
export interface Spill extends AsyncDisposable {
  add(row: OutRow): Promise<void>
  /** All rows, in their order, each with its length as JSON, bytes. */
  rows(): AsyncGenerator<{ row: OutRow; bytes: number }, void, undefined>
}

const CHUNK = 1 << 20

/** Opens a spill on the disk of a file. It has no name, so nothing of it stays, whatever happens. */
export async function openSpill(beside: string): Promise<Spill> {
  const path = join(dirname(beside), `.gleaner-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  await rm(path)
  let waiting: string[] = []
  let length = 0
  const flush = async () => {
    if (length === 0) return
    await file.appendFile(waiting.join(''))
    waiting = []
    length = 0
  }
  return {
    async add({ own, result }) {
      const text = `${stringifyExactly([own, result])}\n`
      waiting.push(text)
      length += text.length
      if (length >= CHUNK) await flush()
    },
    async *rows() {
      await flush()
      const stream = file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK })
      for await (const { bytes } of readLines(stream as AsyncIterable<Buffer>, Infinity)) {
        const [own, result] = parseExactly(bytes.toString()) as [OutRow['own'], OutRow['result']]
        yield { row: { own, result }, bytes: bytes.length }
      }
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
}
