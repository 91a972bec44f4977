import type { WriteStream } from 'node:tty'
import type { RunProgress, Status } from '../../../client/index.ts'
import { liveLines } from './live-lines.ts'
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

const STATUS_MS = 1_000

/** Shows the progress of a run. */
export function showProgress(stream: WriteStream, readStatus: () => Promise<Status>): ProgressDisplay {
  const meter = createRateMeter()
  let view: RunView | undefined
  let asking = false

  // What an earlier run had done says nothing about the speed of this one.
  const note = ({ done, failed, resumed }: RunProgress) =>
    meter.note(done + failed - resumed, performance.now())
  const shown = liveLines(stream, {
    lines(width) {
      if (!view) return undefined
      note(view.progress)
      view.rate = meter.rate()
      return progressLines(view, width)
    },
    line: () => (view ? progressLine(view) : ''),
  })
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

  const timer = setInterval(() => void ask(), STATUS_MS)
  return {
    update(progress) {
      if (!view) note(progress)
      view = { rate: 0, status: undefined, ...view, progress, notice: undefined }
    },
    notice(text) {
      if (view) view.notice = text
    },
    print: (text) => shown.print(text),
    [Symbol.dispose]() {
      clearInterval(timer)
      shown[Symbol.dispose]()
      view = undefined
    },
  }
}
