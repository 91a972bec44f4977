import { characters, cut, pad, textWidth } from '../views/text-width.ts'

/*
 * What a full-screen program writes: only what differs from what is on the screen already, so that a refresh is a few bytes also
 * over a slow line.
 */

/** One line of a screen. */
export interface Line {
  text: string
  style?: 'heading' | 'selected' | 'faint'
}

const STYLES = { heading: '\x1b[7m', selected: '\x1b[1;7m', faint: '\x1b[2m' }
const PLAIN = '\x1b[0m'

/** The alternate screen without a cursor, and back again: what was on the terminal before stays. */
export const OPEN = '\x1b[?1049h\x1b[?25l\x1b[2J'
export const CLOSE = '\x1b[0m\x1b[?25h\x1b[?1049l'

/** A screen of so many lines and columns that remembers what it shows. */
export interface Screen {
  /** What has to be written so that these lines are shown; empty if they are. */
  draw(lines: readonly Line[], rows: number, columns: number): string
  /** Forgets what is shown, e.g. after the terminal changed its size. */
  reset(): void
}

export function createScreen(): Screen {
  let shown: Line[] = []
  let blank = true
  return {
    reset() {
      shown = []
      blank = false
    },
    draw(lines, rows, columns) {
      const out: string[] = blank ? [] : ['\x1b[2J']
      blank = true
      for (let row = 0; row < rows; row++) {
        const before = shown[row] ?? { text: '' }
        const line = fit(lines[row] ?? { text: '' }, columns)
        out.push(change(before, line, row))
        shown[row] = line
      }
      shown.length = rows
      return out.join('')
    },
  }
}

/** Styled lines are as wide as the screen. */
function fit({ text, style }: Line, columns: number): Line {
  const fitting = cut(text.trimEnd(), columns)
  if (style === undefined || style === 'faint') return style ? { text: fitting, style } : { text: fitting }
  return { text: pad(fitting, columns), style }
}

function change(before: Line, line: Line, row: number): string {
  if (before.text === line.text && before.style === line.style) return ''
  const at = (column: number) => `\x1b[${row + 1};${column + 1}H`
  const [had, has] = [textWidth(before.text), textWidth(line.text)]
  const rest = had > has ? '\x1b[K' : ''
  if (before.style !== line.style)
    return `${at(0)}${line.style ? STYLES[line.style] : ''}${line.text}${PLAIN}${rest}`
  const [old, now] = [characters(before.text), characters(line.text)]
  let start = 0
  while (start < now.length && start < old.length && old[start] === now[start]) start++
  let end = 0
  if (had === has)
    while (end < Math.min(old.length, now.length) - start && old.at(-1 - end) === now.at(-1 - end)) end++
  const text = now.slice(start, now.length - end).join('')
  const styled = line.style ? `${STYLES[line.style]}${text}${PLAIN}` : text
  return `${at(textWidth(now.slice(0, start).join('')))}${styled}${rest}`
}
