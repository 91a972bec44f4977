import { cut, pad, textWidth } from './text-width.ts'

export { count, duration, plural, rate, size } from '../../common/plain/quantity-text.ts'
export { timeOfDay } from '../../common/time-text.ts'

/** A line of a table's notes: what is too long for a cell, and the rows it is about. */
export interface Note {
  row: string
  text: string
}

/** Longest text of a cell. */
const CELL = 48

/** A text as a cell: whole if it is short, or else its beginning; the rest is for the notes. */
export const cell = (text: string): string =>
  text.includes('\n') ? `${cut(text.split('\n', 1)[0]!, CELL - 1).replace(/…$/, '')}…` : cut(text, CELL)

export const isLong = (text: string): boolean => text.includes('\n') || textWidth(text) > CELL

/** One column of a table: what stands above it, and what of each row stands in it. */
export type Column<Row> = readonly [heading: string, cell: (row: Row) => string]

/** Rows under headings, in columns as wide as their widest cell. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const headings = columns.map(([heading]) => heading)
  const all = [headings, ...rows.map((row) => columns.map(([, cell]) => cell(row)))]
  const widths = headings.map((_, column) => Math.max(...all.map((cells) => textWidth(cells[column]!))))
  const line = (cells: string[]) =>
    cells
      .map((text, column) => pad(text, widths[column]!))
      .join('  ')
      .trimEnd()
  return all.map(line).join('\n')
}

/** Notes below a table: each once, with the rows it is about; its further lines are indented. */
export function withNotes(table: string, notes: readonly Note[]): string {
  const byText = Map.groupBy(notes, ({ text }) => text)
  const lines = [...byText].map(([text, about]) => {
    const all = [...new Set(about.map(({ row }) => row))]
    const who = all.length > 4 ? `${all.slice(0, 3).join(', ')} and ${all.length - 3} more` : all.join(', ')
    return `  ${who}: ${text.trim().replace(/\n+/g, '\n    ')}`
  })
  return [table, ...lines].join('\n')
}
