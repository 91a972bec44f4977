import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pieceRoutes } from '../../protocol/routes/piece-routes.ts'
import { paramsOf } from '../../protocol/routes/route.ts'
import { BundleId } from '../../protocol/bundle.ts'
import { accept, serveUpgrades, turnAway } from '../../common/upgrades/serve-upgrades.ts'
import { frameReader, noBody, wholeBody } from '../../protocol/channels/frames.ts'
import { CHANNEL, FETCH_HEADER, FETCH_NAME, FrameKind } from '../../protocol/channels/piece-frames.ts'
import type { FrameBody } from '../../protocol/channels/frames.ts'
import { refuse } from './seeder.ts'
import type { SeederRequest, Seeder, SeederConnection } from './seeder.ts'

export type ServeChannelsOptions = {
  give: Seeder
  /** Whether a request with this `authorization` header may have pieces of this bundle. Asked again for each frame. */
  mayHave: (authorization: string | undefined, bundle: string) => Promise<boolean>
}

/**
 * A worker that takes longer for an answer is cut off, milliseconds: the largest come to 64 KiB/s. So is one that asks nothing
 * for as long after it.
 */
const LIMIT_MS = 75_000
/** A worker that takes nothing of an answer for once to twice as long is cut off, milliseconds: it may be stopped, and others wait. */
const STUCK_MS = 5_000
/** When nothing is heard of a worker, it is asked whether it is still there, milliseconds. */
const KEEP_ALIVE_MS = 30_000
/** Answers that may wait to be taken when another is asked for, bytes. */
const UNTAKEN_MAX = 1 << 20
/** Largest bitmap of wanted pieces, bytes. */
const WANT_MAX = 1 << 20

/** Lets workers open channels (see `protocol/channels/piece-frames.ts`) at the server of this scope. */
export function serveChannels(scope: FastifyInstance, { give, mayHave }: ServeChannelsOptions): void {
  serveUpgrades(scope, CHANNEL, async ({ method, url, headers }, socket) => {
    const { authorization } = headers
    const { success, data: bundle } = BundleId.safeParse(paramsOf(pieceRoutes.pieces, url ?? '')?.bundle)
    if (!success || method !== 'GET')
      return turnAway(socket, '404 Not Found', {
        code: 'GLEANER_NOT_FOUND',
        message: 'there is no such channel',
      })
    if (!(await mayHave(authorization, bundle))) {
      const message = 'this needs a ticket for the bundle'
      return turnAway(socket, '403 Forbidden', { code: 'GLEANER_UNAUTHORISED', message })
    }
    if (socket.destroyed) return
    accept(socket, CHANNEL)
    answerAll(socket, fetchOf(headers[FETCH_HEADER]), async (asked, line) => {
      try {
        if (await mayHave(authorization, bundle)) await give(bundle, asked, line)
        else refuse(line, 'this ticket is not good any more; ask the manager for sources again')
      } catch (error) {
        scope.log.error({ err: error }, 'serving pieces failed')
        refuse(line, 'this source cannot read its pieces; ask another one')
      }
    })
  })
}

/** What a worker calls its fetch, if that is a name. */
function fetchOf(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && FETCH_NAME.test(header) ? header : undefined
}

/** Answers what is asked over a connection, one after the other, until it is closed. `answer` does not throw. */
function answerAll(
  socket: Socket,
  fetch: string | undefined,
  answer: (asked: SeederRequest, line: SeederConnection) => Promise<void>,
): void {
  const gone = new AbortController()
  let asked: SeederRequest | undefined
  let leaving = false
  /** A worker may have its answer before we know that it has left. */
  let next: SeederRequest | undefined
  const limit = setTimeout(() => {
    // There may be no news for long.
    if (asked?.what === 'follow') limit.refresh()
    else socket.destroy()
  }, LIMIT_MS).unref()
  const line: SeederConnection = {
    connection: socket,
    fetch,
    gone: gone.signal,
    onDelivered: undefined,
    send: (head, data) =>
      new Promise((resolve) => {
        leaving = true
        socket.cork()
        socket.write(head)
        socket.write(data, (error) => {
          leaving = false
          resolve(!error)
        })
        socket.uncork()
      }),
  }
  socket.setKeepAlive(true, KEEP_ALIVE_MS)
  socket.setTimeout(STUCK_MS, () => leaving && socket.destroy())
  const delivered = () => {
    line.onDelivered?.()
    line.onDelivered = undefined
  }
  const begin = async (ask: SeederRequest): Promise<void> => {
    if (gone.signal.aborted) return
    if (socket.writableLength > UNTAKEN_MAX) return void socket.destroy()
    asked = ask
    next = undefined
    limit.refresh()
    delivered()
    await answer(ask, line)
    limit.refresh()
    asked = undefined
    if (next) void begin(next)
  }
  const reader = frameReader((kind, first, second) =>
    readAsked(kind, first, second, (ask) => {
      if (!asked) void begin(ask)
      else if (!next) next = ask
      else throw new Error('it asks before it has its answer')
    }),
  )
  socket.on('data', (chunk: Buffer) => {
    try {
      reader.push(chunk)
    } catch {
      socket.destroy()
    }
  })
  socket.once('end', () => socket.destroy())
  socket.once('close', () => {
    clearTimeout(limit)
    gone.abort()
    delivered()
  })
}

/** @throws when it is nothing that a worker asks. */
function readAsked(
  kind: number,
  first: number,
  second: number,
  onAsked: (asked: SeederRequest) => void,
): FrameBody {
  if (kind === FrameKind.FOLLOW) return noBody(() => onAsked({ what: 'follow' }))
  if (kind === FrameKind.RUN) return noBody(() => onAsked({ what: 'run', first, count: second }))
  if (kind !== FrameKind.ANY || second > WANT_MAX) throw new Error('no worker sends this')
  return wholeBody(second, (want) => onAsked({ what: 'any', most: first, want }))
}
