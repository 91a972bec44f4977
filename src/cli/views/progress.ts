import { clearScreenDown, moveCursor } from 'node:readline'
import type { WriteStream } from 'node:tty'
import type { RunProgress, Status } from '../../client/index.ts'
import { createRateMeter } from './rate-meter.ts'
import { progressLine, progressLines, type RunView } from './progress-view.ts'

/** Ends, with the last state left in sight, when it is disposed of. */
export interface ProgressDisplay extends Disposable {
  update(progress: RunProgress): void
  /** Says why nothing may be moving, until the next update. */
  notice(text: string): void
  /** Writes a line that stays. */
  print(text: string): void
}

const REDRAW_MS = 200
const LOG_MS = 5_000
const STATUS_MS = 1_000

/** Shows the progress of a run: on a terminal as two lines that are drawn again and again, elsewhere as a line now and then. */
export function showProgress(stream: WriteStream, readStatus: () => Promise<Status>): ProgressDisplay {
  const meter = createRateMeter()
  let view: RunView | undefined
  let drawn = 0
  let logged = ''
  let asking = false

  // What an earlier run had done says nothing about the speed of this one.
  const note = ({ done, failed, resumed }: RunProgress) =>
    meter.note(done + failed - resumed, performance.now())
  const erase = () => {
    if (drawn > 0) moveCursor(stream, 0, -drawn)
    if (drawn > 0) clearScreenDown(stream)
    drawn = 0
  }
  // A log has no use for the same line again.
  const log = (line: string) => {
    if (line !== logged) stream.write(`${line}\n`)
    logged = line
  }
  const draw = () => {
    if (!view) return
    note(view.progress)
    view.rate = meter.rate()
    if (!stream.isTTY) return log(progressLine(view))
    const lines = progressLines(view, stream.columns)
    erase()
    stream.write(`${lines.join('\n')}\n`)
    drawn = lines.length
  }
  const ask = async () => {
    if (asking || !view?.progress.job) return
    asking = true
    // What is wrong with the connection is told by the run itself.
    const status = await readStatus().catch(() => undefined)
    asking = false
    // The run may be over by now.
    const current = view as RunView | undefined
    if (status && current) current.status = status
  }

  const timers = [
    setInterval(draw, stream.isTTY ? REDRAW_MS : LOG_MS),
    setInterval(() => void ask(), STATUS_MS),
  ]
  return {
    update(progress) {
      if (!view) note(progress)
      view = { rate: 0, status: undefined, ...view, progress, notice: undefined }
    },
    notice(text) {
      if (view) view.notice = text
    },
    print(text) {
      erase()
      stream.write(`${text}\n`)
      if (stream.isTTY) draw()
    },
    [Symbol.dispose]() {
      timers.forEach((timer) => clearInterval(timer))
      if (stream.isTTY) draw()
      // What is printed from now on stands below.
      view = undefined
    },
  }
}
