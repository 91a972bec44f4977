export { count, duration, plural, rate, size } from '../common/plain/quantity-text.ts'
export { timeOfDay } from '../common/time-text.ts'

/** A line of a table's notes: what is too long for a cell, and the rows it is about. */
export interface Note {
  row: string
  text: string
}

/** Longest text of a cell. */
const CELL = 48

/** A text as a cell: whole if it is short, or else its beginning; the rest is for the notes. */
export const cell = (text: string): string =>
  isLong(text) ? `${text.split('\n', 1)[0]!.slice(0, CELL - 1)}…` : text

export const isLong = (text: string): boolean => text.length > CELL || text.includes('\n')

/** A table, with notes below it: each once, with the rows it is about; its further lines are indented. */
export function tableWithNotes(headings: string[], rows: string[][], notes: Note[]): string {
  const byText = Map.groupBy(notes, ({ text }) => text)
  const lines = [...byText].map(([text, about]) => {
    const all = [...new Set(about.map(({ row }) => row))]
    const who = all.length > 4 ? `${all.slice(0, 3).join(', ')} and ${all.length - 3} more` : all.join(', ')
    return `  ${who}: ${text.trim().replace(/\n+/g, '\n    ')}`
  })
  return [table(headings, rows), ...lines].join('\n')
}

/** Rows under headings, in columns as wide as their widest cell. */
export function table(headings: string[], rows: string[][]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
