import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type KeptPath, JsonTextError, readJson } from './read-json.ts'
import { invalid } from './api-errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Values of the body that the route takes as the JSON text they are. */
    keep?: KeptPath
  }
}

/** A body from this size on waits for its turn, bytes. */
const LARGE = 1 << 20
/** A client whose large body stands still for this long is cut off: others of the same client may wait, milliseconds. */
const STALL_MS = 20_000

/**
 * What a body says. Other requests have their turn in between, however long it is. A key named `__proto__` is data like any
 * other: what comes in is never merged into objects of ours.
 * @param keep values that come as text
 * @throws {ApiError} 400
 */
export async function readBody(body: Buffer, keep?: KeptPath): Promise<unknown> {
  try {
    for (const reading = readJson(body, { keep }); ;) {
      const { done, value } = reading.next()
      if (done) return value
      await nextTurn()
    }
  } catch (error) {
    if (error instanceof JsonTextError) throw invalid(error.message)
    throw error
  }
}

/**
 * Lets large bodies of one client in one after the other: while one is being received and read, the next stays with its
 * sender. So a client takes no more memory than one body, however many requests it makes.
 */
export class LargeBodies {
  /** When all that a client has sent so far is taken in. */
  readonly #last = new Map<string, Promise<unknown>>()
  readonly #ends = new WeakMap<FastifyRequest, () => void>()

  /** Waits until the body may come. */
  async begin(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { headers, raw } = request
    const bytes =
      headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : Infinity
    if (bytes < LARGE) return
    const client = headers.authorization ?? ''
    const { promise, resolve } = Promise.withResolvers<void>()
    const before = this.#last.get(client)
    const all = Promise.all([before, promise])
    this.#last.set(client, all)
    void all.then(() => {
      if (this.#last.get(client) === all) this.#last.delete(client)
    })
    this.#ends.set(request, resolve)
    reply.raw.once('close', resolve)
    await before
    // The server closes connections whose time is over.
    raw.socket.setTimeout(STALL_MS)
  }

  /** The body was taken in. */
  end(request: FastifyRequest): void {
    const end = this.#ends.get(request)
    if (!end) return
    request.raw.socket.setTimeout(0)
    end()
  }
}
