import type { ServerResponse } from 'node:http'
import { Digits } from '../../../protocol/primitives.ts'
import type { EventPage, EventQuery } from '../../ledger/event-log.ts'
import type { EventFeed } from '../../services/events/event-feed.ts'
import { busy } from '../api-errors.ts'
import { parse } from '../server.ts'
import type { ManagerHandlers } from './handlers.ts'

/** Most readers that may follow at once. */
const MAX_FOLLOWERS = 200
/** Events that are read at once for one of them, and characters. */
const PAGE = { limit: 500, maxLength: 256 << 10 }
/** Silence of a stream after which it says that it is still there, milliseconds. */
const HEARTBEAT_MS = 15_000
/** One that takes nothing for this long is cut off, milliseconds; it can come back to where it was. */
const STUCK_MS = 60_000

/** What happened, a page at a time or as a stream. */
export function eventHandlers(feed: EventFeed) {
  return {
    async events({ query: { after, last, limit, waitMs, job, site, type }, request, reply }) {
      const resumed = parse(Digits.optional(), request.headers['last-event-id'])
      const filter = { job, site, types: type }
      const start = resumed ?? after ?? (last === undefined ? 0 : feed.before(last, filter))
      const query = { ...filter, after: start }
      const isStream = request.headers.accept?.includes('text/event-stream') ?? false
      if ((isStream || waitMs > 0) && feed.followers >= MAX_FOLLOWERS)
        throw busy('too many readers follow events: ask again soon')
      if (isStream) {
        reply.hijack()
        streamEvents(reply.raw, feed, query)
        return undefined
      }
      const page = await nextPage(feed, { ...query, limit }, waitMs, reply.raw)
      return reply.type('application/json').send(pageText(page))
    },
  } satisfies Partial<ManagerHandlers>
}

/** Events after the cursor; with none yet, waits until there are some, the time is over or the reader is gone. */
async function nextPage(
  feed: EventFeed,
  query: EventQuery,
  waitMs: number,
  out: ServerResponse,
): Promise<EventPage> {
  let page = feed.read(query)
  if (page.events.length > 0 || waitMs === 0) return page
  await new Promise<void>((resolve) => {
    const look = () => {
      page = feed.read({ ...query, after: page.cursor })
      if (page.events.length > 0) end()
    }
    const end = () => {
      unfollow()
      clearTimeout(timer)
      out.off('close', end)
      resolve()
    }
    const unfollow = feed.follow(look)
    const timer = setTimeout(end, waitMs)
    out.once('close', end)
  })
  return page
}

function pageText({ events, cursor, more }: EventPage): string {
  return `{"events":[${events.map(({ text }) => text).join(',')}],"cursor":${cursor},"more":${more}}`
}

/**
 * Sends events for as long as the reader is there. It is a cursor and no queue: a slow reader has one page on its way at most, and
 * gets the next from the ledger once it has taken that.
 */
export function streamEvents(out: ServerResponse, feed: EventFeed, query: Omit<EventQuery, 'limit'>): void {
  let { after } = query
  let isFull = false
  out.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    // Proxies of this kind collect what they pass on unless they are told not to.
    'x-accel-buffering': 'no',
  })
  const stuck = setTimeout(() => out.destroy(), STUCK_MS)
  const send = (text: string) => {
    isFull = !out.write(text)
    heartbeat.refresh()
    stuck.refresh()
  }
  const heartbeat = setInterval(() => {
    if (!isFull) send(': here\n\n')
  }, HEARTBEAT_MS)
  const pump = () => {
    while (!isFull && !out.destroyed) {
      const { events, cursor, more } = feed.read({ ...query, after, ...PAGE })
      if (events.length > 0) send(events.map(({ text }) => `id: ${idOf(text)}\ndata: ${text}\n\n`).join(''))
      after = cursor
      if (!more) return
    }
  }
  const unfollow = feed.follow(pump)
  out.on('drain', () => {
    isFull = false
    pump()
  })
  out.once('close', () => {
    unfollow()
    clearInterval(heartbeat)
    clearTimeout(stuck)
  })
  send('retry: 2000\n\n')
  pump()
}

/** The cursor, which an event's text begins with. */
const idOf = (text: string) => text.slice('{"cursor":'.length, text.indexOf(','))
