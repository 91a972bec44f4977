/** `12,345`. */
export const count = (value: number): string => value.toLocaleString('en-US')

/** `1 task`, `2 tasks`. */
export const plural = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`

/** A rate per second with about three digits. */
export const rate = (perSecond: number): string => count(Number(perSecond.toPrecision(3)))

/** Milliseconds as `850 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const total = Math.round(ms / 1000)
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), 'd'],
    [Math.floor(total / 3600) % 24, 'h'],
    [Math.floor(total / 60) % 60, 'min'],
    [total % 60, 's'],
  ]
  const first = parts.findIndex(([value]) => value > 0)
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ')
}

/** Bytes as `512 B`, `8.2 MB`, `1.5 GB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`
}

/** A point in time, milliseconds since 1970, in the reader's zone: `14:03:20` today, `2026-11-28 14:03` on another day. */
export function timeOfDay(ms: number, now: number = Date.now()): string {
  const local = (time: number) => {
    const date = new Date(time)
    const two = (value: number) => String(value).padStart(2, '0')
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
    return {
      day,
      minute: `${two(date.getHours())}:${two(date.getMinutes())}`,
      second: two(date.getSeconds()),
    }
  }
  const { day, minute, second } = local(ms)
  return day === local(now).day ? `${minute}:${second}` : `${day} ${minute}`
}

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
