import type { Duplex, Transform } from 'node:stream'

/** Time for one connection to close by itself once the other has, milliseconds. */
const LINGER_MS = 10_000

export interface JoinOptions {
  /** What passes from the first to the second goes through this. */
  through?: Transform | undefined
  /** Default: 10 s. */
  lingerMs?: number
}

/**
 * Carries all that comes from each of two connections to the other, ends included. When one breaks, what came from it before is still
 * passed on, and what comes for it later is read and dropped: a connection that is closed with something unread loses what was said last.
 * @returns resolves once both are closed
 */
export async function joinConnections(
  first: Duplex,
  second: Duplex,
  { through, lingerMs = LINGER_MS }: JoinOptions = {},
): Promise<void> {
  await Promise.all([carry(first, second, lingerMs, through), carry(second, first, lingerMs)])
}

/** One way. @returns resolves once what it comes from is closed */
function carry(from: Duplex, to: Duplex, lingerMs: number, through?: Transform): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  // That a connection broke shows in that it closes.
  from.on('error', () => {})
  const entrance = through ? from.pipe(through) : from.pipe(to)
  through?.on('error', () => to.destroy()).pipe(to)
  let late: NodeJS.Timeout | undefined
  const closed = () => {
    clearTimeout(late)
    entrance.end()
    resolve()
  }
  const drop = () => {
    from.unpipe(entrance).resume().end()
    if (!from.destroyed) late = setTimeout(() => from.destroy(), lingerMs)
  }
  if (from.destroyed) closed()
  else from.once('close', closed)
  if (to.destroyed) drop()
  else to.once('close', drop)
  return promise
}
