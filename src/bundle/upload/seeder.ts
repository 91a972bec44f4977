import type { Duplex } from 'node:stream'
import { frame } from '../../protocol/channels/frames.ts'
import { FrameKind, RUN_MAX } from '../../protocol/channels/piece-frames.ts'
import { has, isBitmap } from '../format/bitmap.ts'
import { createBufferPool } from '../store/buffer-pool.ts'
import { BundleError } from '../format/errors.ts'
import { createHaveBroadcast, type HaveBroadcast } from './have-broadcast.ts'
import type { StoredPieces } from '../store/stored-pieces.ts'
import { createSuperSeeding } from '../policy/super-seeding.ts'
import type { Store } from '../store/store.ts'
import { awaitUploadSlot, createUploadSlots } from './upload-slots.ts'
import type { UploadSlots } from './upload-slots.ts'

/** What a worker asks over a channel; see `protocol/channels/piece-frames.ts`. */
export type SeederRequest =
  | { what: 'run'; first: number; count: number }
  | { what: 'any'; most: number; want: Buffer }
  | { what: 'follow' }

/** A source's end of a channel, while something that was asked over it is answered. */
export type SeederConnection = {
  connection: Duplex
  /** Which fetch it belongs to, as the worker says; a fetch has several. */
  fetch: string | undefined
  /** Fires when the worker is gone. */
  gone: AbortSignal
  /** Sends a frame whose bytes are `data`; resolves when they have left, or the worker is gone: false, if that was in time. */
  send(head: Buffer, data: Buffer): Promise<boolean>
  /**
   * Called when what was sent has been delivered. That it has left says little: a whole piece may wait in the queues of the
   * kernel. So it has when its worker asks for more, or is gone.
   */
  onDelivered: (() => void) | undefined
}

/** How long a worker that asks about a bundle that is not here waits for a fetch of it to begin, milliseconds. */
export const APPEAR_MS = 5_000
/**
 * Runs of this source's choice that are on their way together. No peer has these pieces yet: few at once, each arrives
 * early and whole and can be passed on, rather than all at the same late time. As many as a worker has requests in hand, for
 * this source gets only such a share of its link.
 */
const SPREADING_AT_ONCE = 12
const SPREADING_PATIENCE_MS = 1_000

/** Answers with pieces that may wait in memory for slow connections, each of up to {@link RUN_MAX} bytes. */
const MOST_LEAVING = 64

/** Answers what workers ask. Only pieces that were checked leave, also while the rest of their bundle is being fetched. */
export type Seeder = (bundle: string, asked: SeederRequest, line: SeederConnection) => Promise<void>

/** @param mostLeaving answers with pieces that may be in memory because they have not left yet; beyond that, it is busy. */
export function createSeeder(store: Store, mostLeaving = MOST_LEAVING): Seeder {
  const uploadSlots = createUploadSlots()
  const spreading = createUploadSlots({ atOnce: SPREADING_AT_ONCE, patienceMs: SPREADING_PATIENCE_MS })
  const buffers = createBufferPool()
  const spreadOf = perPieces((pieces) => createSuperSeeding(pieces.layout.pieces))
  const tellerOf = perPieces(createHaveBroadcast)
  let leaving = 0

  const takeTurn = async (turns: UploadSlots, line: SeederConnection): Promise<boolean> => {
    line.onDelivered = await awaitUploadSlot(turns, line.gone, line.fetch)
    if (line.onDelivered && leaving < mostLeaving) return true
    line.onDelivered?.()
    line.connection.write(frame(FrameKind.BUSY))
    return false
  }
  const give = async (pieces: StoredPieces, { first, count }: Run, line: SeederConnection): Promise<void> => {
    spreadOf(pieces).sent(first, count, Date.now())
    leaving++
    try {
      const data = await pieces.read(first, count, (bytes) => buffers.take(bytes))
      // If it has not left, the connection may still be reading it.
      if (await line.send(frame(FrameKind.RUN, first, count), data)) buffers.give(data)
    } finally {
      leaving--
    }
  }
  const giveRun = async (pieces: StoredPieces, run: Run, line: SeederConnection): Promise<void> => {
    const { layout } = pieces
    if (run.count < 1 || run.first + run.count > layout.pieces)
      return refuse(line, 'there are no such pieces')
    if (run.count > 1 && layout.bytes(run.first, run.count) > RUN_MAX)
      return refuse(line, `ask for at most ${RUN_MAX} bytes at once`)
    if (await takeTurn(uploadSlots, line)) await give(pieces, run, line)
  }
  const giveAny = async (
    pieces: StoredPieces,
    want: Buffer,
    most: number,
    line: SeederConnection,
  ): Promise<void> => {
    const { layout, held } = pieces
    if (!isBitmap(want, layout.pieces)) return refuse(line, 'that is no bitmap of the bundle’s pieces')
    if (!(await takeTurn(spreading, line))) return
    const run = spreadOf(pieces).choose(
      (piece) => has(want, piece) && has(held, piece),
      Date.now(),
      (first, count) => layout.bytes(first, count) <= Math.min(most, RUN_MAX),
    )
    if (run) return give(pieces, run, line)
    line.onDelivered?.()
    line.connection.write(frame(FrameKind.NONE))
  }
  return async (bundle, asked, line) => {
    const pieces = await (asked.what === 'follow'
      ? store.awaitPieces(bundle, APPEAR_MS, line.gone)
      : store.pieces(bundle))
    if (!pieces) return refuse(line, `bundle ${bundle} is not held here`)
    try {
      if (asked.what === 'run') await giveRun(pieces, asked, line)
      else if (asked.what === 'any') await giveAny(pieces, asked.want, asked.most, line)
      else await tellHeld(tellerOf(pieces), line)
    } catch (error) {
      if (!(error instanceof BundleError && error.code === 'GLEANER_BUNDLE_NOT_FOUND')) throw error
      refuse(line, error.message)
    }
  }
}

/** Tells a worker of the pieces that are held here, until it has heard of all or is gone. */
function tellHeld(teller: HaveBroadcast, { connection, gone }: SeederConnection): Promise<void> {
  return new Promise((resolve) => {
    const over = () => {
      stop()
      gone.removeEventListener('abort', over)
      resolve()
    }
    const stop = teller.tell({
      write: (data) => connection.write(data),
      backlog: () => connection.writableLength,
      end(done) {
        if (!done) connection.destroy()
        queueMicrotask(over)
      },
    })
    gone.addEventListener('abort', over)
    if (gone.aborted) over()
  })
}

type Run = { first: number; count: number }

/** Says that it cannot be had here, and why. */
export function refuse({ connection }: Pick<SeederConnection, 'connection'>, why: string): void {
  const text = Buffer.from(why)
  connection.write(frame(FrameKind.REFUSED, 0, text.length, text))
}

/** Something kept beside each bundle's pieces for as long as these are in use. */
function perPieces<T>(make: (pieces: StoredPieces) => T): (pieces: StoredPieces) => T {
  const made = new WeakMap<StoredPieces, T>()
  return (pieces) => {
    const one = made.get(pieces) ?? make(pieces)
    made.set(pieces, one)
    return one
  }
}
