import { setTimeout as sleep } from 'node:timers/promises'
import { Transform } from 'node:stream'

/** Time whose worth of bytes may pass at once after a pause, milliseconds. */
const BURST_MS = 20

/** A limit that several streams share. */
export interface Throttle {
  /** Whether there is a limit at all. */
  readonly limited: boolean
  /** Resolves when so many bytes may pass. */
  wait(bytes: number): Promise<void>
  /** A stream that lets bytes pass no faster than the limit, together with the others. */
  stream(): Transform
}

/** @param bytesPerSecond undefined for no limit */
export function createThrottle(bytesPerSecond: number | undefined): Throttle {
  /** When what was let pass so far has had its time. */
  let busyUntil = 0
  const wait = async (bytes: number): Promise<void> => {
    if (bytesPerSecond === undefined) return
    const now = performance.now()
    busyUntil = Math.max(busyUntil, now - BURST_MS) + (bytes / bytesPerSecond) * 1000
    if (busyUntil > now) await sleep(busyUntil - now)
  }
  return {
    limited: bytesPerSecond !== undefined,
    wait,
    stream: () =>
      new Transform({
        transform(chunk: Buffer, _encoding, done) {
          wait(chunk.length).then(() => done(null, chunk), done)
        },
      }),
  }
}
