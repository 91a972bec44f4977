import type { WriteStream } from 'node:tty'
import { duration, size } from '../format.ts'
import { cut } from '../text-width.ts'
import { liveLines } from './live-lines.ts'
import { bar } from './progress-view.ts'
import { createRateMeter } from './rate-meter.ts'

/** Bytes on their way somewhere; `total` undefined until it is known. */
export interface BytesMoved {
  done: number
  total: number | undefined
  /** What is said beside the figures. */
  note?: string
}

/** Ends, with the last state left in sight, when it is disposed of. */
export interface ByteProgress extends Disposable {
  update(moved: BytesMoved): void
}

/** Shows how many bytes have been dealt with, at what rate, and how long the rest will take. */
export function showBytes(stream: WriteStream): ByteProgress {
  const meter = createRateMeter()
  let moved: BytesMoved | undefined
  const line = () => {
    if (!moved) return ''
    meter.note(moved.done, performance.now())
    return byteLine(moved, meter.rate())
  }
  const shown = liveLines(stream, {
    lines: (width) => (moved ? [cut(line(), width)] : undefined),
    line,
  })
  return {
    update: (now) => (moved = now),
    [Symbol.dispose]: () => shown[Symbol.dispose](),
  }
}

/** @param perSecond bytes */
export function byteLine({ done, total, note }: BytesMoved, perSecond: number): string {
  const parts =
    total === undefined
      ? []
      : [
          `${bar(total === 0 ? 1 : done / total)} ${total === 0 ? 100 : Math.floor((100 * done) / total)} %`,
          `${size(done)} of ${size(total)}`,
          `${size(perSecond)}/s`,
        ]
  const left = (total ?? 0) - done
  if (left > 0 && perSecond > 0) parts.push(`${duration(Math.ceil(left / perSecond) * 1000)} left`)
  return [...parts, ...(note === undefined ? [] : [note])].join('  ')
}
