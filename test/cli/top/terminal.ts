/** A terminal of so many rows and columns, as far as `factory top` uses one: it moves, erases, and changes styles. */
export function terminal(rows: number, columns: number) {
  let grid = blank()
  let [row, column] = [0, 0]
  const state = {
    /** Whether the program went back to the screen that was there before. */
    left: false,
    /** What is seen, without blanks at the ends of lines. */
    lines: () => grid.map((cells) => cells.join('').trimEnd()),
    write(text: string): void {
      // eslint-disable-next-line no-control-regex
      for (const part of text.match(/\x1b\[[?\d;]*[A-Za-z]|[^]/gu) ?? []) {
        if (part.startsWith('\x1b[')) act(part)
        else if (part >= ' ' && row < rows && column < columns) {
          grid[row]![column++] = part
          if (/\p{Script=Han}/u.test(part)) grid[row]![column++] = ''
        }
      }
    },
  }

  function blank() {
    return Array.from({ length: rows }, () => Array.from({ length: columns }, () => ' '))
  }

  function act(sequence: string): void {
    const [, mark, numbers = '', letter] = /^\x1b\[(\??)([\d;]*)([A-Za-z])$/.exec(sequence)! // eslint-disable-line no-control-regex
    if (mark) state.left = numbers === '1049' && letter === 'l'
    else if (letter === 'H')
      [row, column] = numbers.split(';').map((number) => Number(number) - 1) as [number, number]
    else if (letter === 'K') grid[row]?.fill(' ', column)
    else if (letter === 'J') grid = blank()
  }

  return state
}
