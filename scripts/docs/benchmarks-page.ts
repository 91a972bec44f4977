import { readFile } from 'node:fs/promises'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

/* The figures in docs/benchmarks.md, which come from the last lines of the benchmarks. */

/** What `npm run figure` keeps of one benchmark: its last line, and where and when it ran. */
export const FigureRecord = z.strictObject({
  /** As it was typed, e.g. `npm run bench:dispatch -- --tasks 50000`. */
  command: z.string(),
  /** ISO date. */
  date: z.iso.date(),
  /** Processors, memory and accelerator. */
  machine: z.string(),
  figures: z.record(z.string(), z.unknown()),
})
export type FigureRecord = z.infer<typeof FigureRecord>

/** What `npm run figure` has kept, in the order of file names. */
export async function readFigures(): Promise<FigureRecord[]> {
  const folder = join(import.meta.dirname, '../../docs/figures')
  const files = globSync('*.json', { cwd: folder }).sort()
  return Promise.all(
    files.map(async (file) => FigureRecord.parse(JSON.parse(await readFile(join(folder, file), 'utf8')))),
  )
}

/** Where a section's figures stand; the command without its arguments names them. */
const PLACE = /(<!-- figures: (.+?) -->\n)[\s\S]*?(<!-- end of figures -->)/g

/** Commands whose figures the page has a place for. */
export function placesOf(page: string): string[] {
  return [...page.matchAll(PLACE)].map(([, , command]) => command!)
}

/** The page with the figures of each record in its place. */
export function benchmarksPage(page: string, records: readonly FigureRecord[]): string {
  return page.replaceAll(PLACE, (_, begin: string, command: string, end: string) => {
    const tables = records.filter((record) => nameOf(record.command) === command).map(tableOf)
    return `${begin}\n${tables.map((table) => `${table}\n`).join('')}${end}`
  })
}

/** A command without its arguments: what names its section. */
export function nameOf(command: string): string {
  return command.replace(/ -- .*$/, '')
}

function tableOf({ command, date, machine, figures }: FigureRecord): string {
  const cells = [['figure', 'value'], ...rowsOf(figures)]
  const widths = [0, 1].map((column) => Math.max(...cells.map((row) => row[column]!.length)))
  const line = (row: string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`
  const [head, ...rows] = cells.map(line)
  return `\`${command}\`, ${machine}, ${date}:\n\n${[head, rule, ...rows].join('\n')}\n`
}

/** One row for each value, named by the path to it. */
function rowsOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [[`\`${path.join('.')}\``, textOf(value)]]
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object'))
    return [[`\`${path.join('.')}\``, value.map(textOf).join(', ')]]
  return Object.entries(value).flatMap(([key, inner]) => rowsOf(inner, [...path, key]))
}

function textOf(value: unknown): string {
  if (typeof value === 'number') return value.toLocaleString('en', { maximumFractionDigits: 3 })
  return String(value).replaceAll('|', '\\|')
}
