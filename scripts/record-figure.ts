/*
 * Keeps the figures of a benchmark for docs/benchmarks.md: reads what the benchmark printed, whose last line is JSON, and writes
 * it to docs/figures, from where `npm run docs` brings it into the page.
 *
 *     npm run bench:dispatch | tee /dev/stderr | npm run figure -- "npm run bench:dispatch"
 */
import { mkdir, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { type FigureRecord, nameOf } from './docs/benchmarks-page.ts'

const USAGE =
  'give the command that was run, and its output on standard input: COMMAND | npm run figure -- "COMMAND" [--accelerator NAME]'

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { accelerator: { type: 'string', default: 'no GPU' } },
})
const [command] = positionals
if (command === undefined || positionals.length > 1 || process.stdin.isTTY) fail(USAGE)
const last = (await text(process.stdin)).trimEnd().split('\n').at(-1)!
const record: FigureRecord = {
  command,
  date: new Date().toISOString().slice(0, 10),
  machine: `${os.cpus().length} processors, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${values.accelerator}`,
  figures: parse(last),
}
const folder = join(import.meta.dirname, '../docs/figures')
await mkdir(folder, { recursive: true })
const file = join(folder, `${command.replace(/^(sudo )?npm run /, '').replaceAll(/[^\w.]+/g, '-')}.json`)
await writeFile(file, `${JSON.stringify(record, null, 2)}\n`)
console.log(`${file} is written: "npm run docs" brings it into docs/benchmarks.md, under ${nameOf(command)}`)

function parse(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
  } catch {
    // Said below.
  }
  return fail(`the last line is not a JSON object: ${line.slice(0, 200)}`)
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}
