import type { ServerResponse } from 'node:http'
import { constants, createGzip, type Gzip } from 'node:zlib'
import { diff, type JsonObject } from '../policy/merge-patch.ts'
import { busy } from '../../manager/http/api-errors.ts'

interface FeedOptions {
  /** Time between two events, milliseconds. */
  tickMs?: number
  /** A reader that takes nothing for so long is cut off, milliseconds. */
  stallMs?: number
}
/** Most readers at once. */
const MAX_READERS = 64

/** One page that listens. */
interface Reader {
  response: ServerResponse
  /** What is written to: the response, or what packs it. */
  out: ServerResponse | Gzip
  isWelcome: () => boolean
  /** The view it has: the next event says what has changed since. */
  has: JsonObject
  /** Since when it has not taken what was written, milliseconds. */
  stalledSince?: number
}

/**
 * Sends the view to all who listen, as server-sent events: `view`, all of it, and then `patch`, what has changed. At most one
 * event waits for a reader: one that is slow gets the next when it has taken the last, with all that has changed in between.
 * Nothing is done while there is no reader.
 */
export class Feed {
  readonly #read: () => JsonObject
  readonly #tickMs: number
  readonly #stallMs: number
  readonly #readers = new Set<Reader>()
  #timer: NodeJS.Timeout | undefined
  #last: JsonObject = {}

  /** @param read the view as it is now; it is called once for each tick */
  constructor(read: () => JsonObject, { tickMs = 1_000, stallMs = 30_000 }: FeedOptions = {}) {
    this.#read = read
    this.#tickMs = tickMs
    this.#stallMs = stallMs
  }

  /** How many listen. */
  get readers(): number {
    return this.#readers.size
  }

  /**
   * Answers a request with the events from now on.
   * @param isWelcome asked before each event: once it says no, the answer ends
   * @throws {RequestError} 429 if too many listen
   */
  join(response: ServerResponse, packed: boolean, isWelcome: () => boolean): void {
    if (this.#readers.size >= MAX_READERS) throw busy('too many pages are open: close some')
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      // Proxies that would keep events back.
      'x-accel-buffering': 'no',
      ...(packed && { 'content-encoding': 'gzip' }),
    })
    const out = packed ? createGzip({ flush: constants.Z_SYNC_FLUSH, level: 4 }) : response
    if (out !== response) out.pipe(response)
    const reader: Reader = { response, out, isWelcome, has: this.#now() }
    this.#readers.add(reader)
    response.once('close', () => this.#leave(reader))
    response.on('error', () => this.#leave(reader))
    send(reader, 'view', JSON.stringify(reader.has))
  }

  /** The last view, which is one of this moment if nothing was read of late. */
  #now(): JsonObject {
    if (this.#timer === undefined) {
      this.#timer = setInterval(() => this.#tick(), this.#tickMs)
      this.#last = this.#read()
    }
    return this.#last
  }

  /** Ends all answers. */
  close(): void {
    for (const reader of [...this.#readers]) {
      this.#leave(reader)
      reader.response.destroy()
    }
  }

  #leave(reader: Reader): void {
    this.#readers.delete(reader)
    if (reader.out !== reader.response) (reader.out as Gzip).destroy()
    if (this.#readers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    const [before, now] = [this.#last, this.#read()]
    this.#last = now
    const patch = patchText(before, now)
    for (const reader of [...this.#readers]) {
      if (!reader.isWelcome()) this.#end(reader)
      else if (isBehind(reader)) this.#wait(reader)
      else {
        send(reader, 'patch', reader.has === before ? patch : patchText(reader.has, now))
        reader.has = now
      }
    }
  }

  #wait(reader: Reader): void {
    reader.stalledSince ??= performance.now()
    if (performance.now() - reader.stalledSince > this.#stallMs) reader.response.destroy()
  }

  /** The page sees the end, asks again, and learns why. */
  #end(reader: Reader): void {
    this.#readers.delete(reader)
    reader.out.end()
  }
}

const patchText = (before: JsonObject, now: JsonObject) => JSON.stringify(diff(before, now) ?? {})

const isBehind = ({ out, response }: Reader) => out.writableNeedDrain || response.writableNeedDrain

function send(reader: Reader, event: string, data: string): void {
  delete reader.stalledSince
  reader.out.write(`event: ${event}\ndata: ${data}\n\n`)
}
