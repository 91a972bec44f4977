import { type Dispatcher, request } from 'undici'
import { pieceRoutes } from '../protocol/routes/piece-routes.ts'
import { pathOf } from '../protocol/routes/route.ts'

/** A ticket that the manager has found good is not shown to it again for this long, milliseconds. */
const GOOD_MS = 60_000
const TICKETS_MOST = 10_000

/** Tickets for pieces of bundles that the manager has found good. */
export class GoodTickets {
  readonly #origin: string
  readonly #dispatcher: Dispatcher
  /** Until when each ticket needs no asking. */
  readonly #until = new Map<string, number>()

  /** @param origin where the manager is reached, over the connections of `dispatcher` */
  constructor(origin: string, dispatcher: Dispatcher) {
    this.#origin = origin
    this.#dispatcher = dispatcher
  }

  /** Whether a ticket is good for a bundle: asks the manager unless that is known. @throws if it cannot be reached */
  async has(ticket: string, bundle: string): Promise<boolean> {
    const key = `${bundle} ${ticket}`
    if ((this.#until.get(key) ?? 0) > performance.now()) return true
    const path = pathOf(pieceRoutes.manifest, { params: { bundle } })
    const { statusCode, body } = await request(new URL(path, this.#origin), {
      dispatcher: this.#dispatcher,
      method: 'HEAD',
      // Else its connection over the wide link would serve no other.
      reset: false,
      headers: { authorization: `Bearer ${ticket}` },
    })
    await body.dump()
    if (statusCode !== 200) return false
    if (this.#until.size >= TICKETS_MOST) this.#until.clear()
    this.#until.set(key, performance.now() + GOOD_MS)
    return true
  }
}
