/* A user's module: a context with a number in it, and functions that are easy to check. */
import { existsSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { loadVariable, reportProgress } from '../../../src/client/functions/setup-variables.ts'
import { sum } from './numbers.ts'

export const limit = 10

export async function load(base: number) {
  return { base: await Promise.resolve(base), pid: process.pid }
}

export const add = (...numbers: number[]) => sum([loadVariable<number>('base'), ...numbers])
export const pid = () => loadVariable<number>('pid')

export async function slowly(log: string, id: string, ms: number) {
  await appendFile(log, `${id}\n`)
  await delay(ms)
  return id
}

export const length = (text: string) => text.length

export function fail(word: string): string {
  throw new RangeError(`no ${word} today`)
}

export function shape(value: { at: Date; bytes: Uint8Array; seen: Set<string> }) {
  return new Map([
    [value.at, { length: value.bytes.length, seen: [...value.seen], last: Buffer.from(value.bytes) }],
  ])
}

export const make = (floats: number) => Float64Array.from({ length: floats }, (_, i) => i)
export const total = (...lists: Float64Array[]) => sum(lists.map((list) => list.reduce((a, b) => a + b, 0)))
export const huge = (bytes: number) => Buffer.alloc(bytes)

/** Goes as far as half, and on when there is a file. */
export async function halves(total: number, file: string) {
  for (let done = 0; done <= total / 2; done++) reportProgress(done, total)
  while (!existsSync(file)) await delay(20)
  return total
}

function read(file: string): never {
  throw Object.assign(new Error(`there is no ${file}`, { cause: 'nobody wrote it' }), { name: 'FileError' })
}

export function open(...files: string[]) {
  const errors = files.map((file) => {
    try {
      return read(file)
    } catch (error) {
      return error
    }
  })
  throw new AggregateError(errors, 'nothing can be opened', { cause: errors[0] })
}
