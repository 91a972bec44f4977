import { clearScreenDown, moveCursor } from 'node:readline'
import type { WriteStream } from 'node:tty'

/** What is shown live. */
export interface LiveView {
  /** What stands on a terminal so many characters wide; undefined as long as there is nothing to show. */
  lines(width: number): string[] | undefined
  /** The same as one line for a log. */
  line(): string
}

/** Ends, with the last state left in sight, when it is disposed of. */
export interface LiveLines extends Disposable {
  /** Writes a line that stays. */
  print(text: string): void
}

const REDRAW_MS = 200
const LOG_MS = 5_000

/** Shows something that changes: on a terminal as lines that are drawn again and again, elsewhere as a line now and then. */
export function liveLines(stream: WriteStream, view: LiveView): LiveLines {
  let drawn = 0
  let logged = ''

  const erase = () => {
    if (drawn > 0) moveCursor(stream, 0, -drawn)
    if (drawn > 0) clearScreenDown(stream)
    drawn = 0
  }
  const draw = () => {
    const lines = view.lines(stream.isTTY ? stream.columns : Infinity)
    if (!lines) return
    if (stream.isTTY) {
      erase()
      stream.write(`${lines.join('\n')}\n`)
      drawn = lines.length
      return
    }
    const line = view.line()
    // A log has no use for the same line again.
    if (line !== logged) stream.write(`${line}\n`)
    logged = line
  }

  const timer = setInterval(draw, stream.isTTY ? REDRAW_MS : LOG_MS)
  let over = false
  return {
    print(text) {
      erase()
      stream.write(`${text}\n`)
      if (stream.isTTY && !over) draw()
    },
    [Symbol.dispose]() {
      if (over) return
      over = true
      clearInterval(timer)
      if (stream.isTTY) draw()
      // What is printed from now on stands below.
      drawn = 0
    },
  }
}
