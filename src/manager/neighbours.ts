import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Logger } from 'pino'
import { signTicket } from '../bundle/ticket.ts'
import type { Transfer } from '../protocol/client.ts'
import type { Source, SourcesRequest } from '../protocol/sources.ts'
import type { ContextReport } from '../protocol/worker.ts'
import type { Contexts } from './contexts.ts'
import type { Dispatcher } from './dispatcher.ts'
import { notFound } from './errors.ts'
import type { Ledger } from './ledger.ts'
import type { Pilots } from './pilots.ts'

/** Neighbours named to one worker: enough for full speed and for a few that fail, few enough for each to serve well. */
const NEIGHBOURS = 16
/** Time a ticket is good for, milliseconds; a fetch asks for new ones while it runs. */
const TICKET_MS = 300_000
/** A worker that this many others caught with wrong bytes is named to nobody any more. */
const ACCUSERS = 2

/** The manager's key for tickets, made at the first start. */
export function ticketKeys(ledger: Ledger): {
  privateKey: KeyObject
  publicKey: KeyObject
  publicText: string
} {
  const pem = ledger.meta('ticket-key', () =>
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  )
  const privateKey = createPrivateKey(pem)
  const publicKey = createPublicKey(privateKey)
  return {
    privateKey,
    publicKey,
    publicText: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  }
}

/** Who holds which bundle and serves it: names sources to workers that fetch, and keeps the account of their fetches. */
export class Neighbours {
  /** Where this manager serves pieces itself. */
  managerUrl = ''
  readonly #pilots: Pilots
  readonly #contexts: Contexts
  readonly #dispatcher: Dispatcher
  readonly #log: Logger
  readonly #privateKey: KeyObject
  /** Workers that hold a bundle, whole or in part. */
  readonly #holders = new Map<string, Set<string>>()
  readonly #transfers = new Map<string, Transfer>()
  /** By accused worker, who says that it sent wrong bytes. */
  readonly #accusers = new Map<string, Set<string>>()

  constructor(parts: {
    pilots: Pilots
    contexts: Contexts
    dispatcher: Dispatcher
    log: Logger
    tickets: { privateKey: KeyObject }
  }) {
    this.#pilots = parts.pilots
    this.#contexts = parts.contexts
    this.#dispatcher = parts.dispatcher
    this.#log = parts.log
    this.#privateKey = parts.tickets.privateKey
    parts.dispatcher.on('worker-gone', (worker) => this.#forget(worker))
  }

  #forget(worker: string): void {
    for (const holders of this.#holders.values()) holders.delete(worker)
    for (const [key, transfer] of this.#transfers) if (transfer.worker === worker) this.#transfers.delete(key)
    this.#accusers.delete(worker)
  }

  /** Notes where a worker holds its contexts. */
  note(worker: string, reports: ContextReport[]): void {
    for (const { context, level, doing } of reports) {
      const fetching = level === 'absent' && doing === 'fetching'
      for (const bundle of Object.values(this.#contexts.find(context)?.bundles ?? {})) {
        if (level !== 'absent' || fetching) this.#holdersOf(bundle).add(worker)
        if (!fetching) this.#transfers.delete(`${worker} ${bundle}`)
      }
    }
  }

  #holdersOf(bundle: string): Set<string> {
    let holders = this.#holders.get(bundle)
    if (!holders) {
      holders = new Set()
      this.#holders.set(bundle, holders)
    }
    return holders
  }

  /**
   * Names sources of a bundle to a worker that fetches it, the manager always among them.
   * @throws {ApiError} 404 for a bundle that no context needs
   */
  sources(worker: string, request: SourcesRequest): Source[] {
    const { bundle, heldBytes, totalBytes, from } = request
    if (!this.#contexts.need(bundle)) throw notFound(`no context needs the bundle ${bundle}`)
    this.#transfers.set(`${worker} ${bundle}`, { worker, bundle, heldBytes, totalBytes, from })
    for (const fault of request.faults) {
      this.#log.warn({ worker, bundle, ...fault }, 'a source was left out')
      if (fault.reason === 'corrupt') this.#accuse(fault.source, worker)
    }
    const left = new Set(request.faults.map(({ source }) => source))
    const ticket = signTicket(this.#privateKey, { bundle, notAfter: this.#dispatcher.now + TICKET_MS })
    const neighbours: Source[] = []
    for (const name of this.#holdersOf(bundle)) {
      const url = this.#pilots.session(name)?.info.pieces
      if (url === undefined || name === worker || left.has(name) || this.#isDistrusted(name)) continue
      neighbours.push({ name, url, ticket, kind: 'neighbour' })
    }
    this.#holdersOf(bundle).add(worker)
    return [
      { name: 'manager', url: this.managerUrl, ticket, kind: 'manager' },
      ...sample(neighbours, NEIGHBOURS),
    ]
  }

  #accuse(worker: string, accuser: string): void {
    if (!this.#pilots.session(worker)) return
    const accusers = this.#accusers.get(worker) ?? new Set()
    this.#accusers.set(worker, accusers.add(accuser))
  }

  #isDistrusted(worker: string): boolean {
    return (this.#accusers.get(worker)?.size ?? 0) >= ACCUSERS
  }

  /** Fetches that are under way. */
  transfers(): Transfer[] {
    return [...this.#transfers.values()]
  }
}

/** So many of them at random: the load spreads, and no two workers depend on the same few. */
function sample<T>(items: T[], count: number): T[] {
  for (let i = 0; i < Math.min(count, items.length); i++) {
    const j = i + Math.floor(Math.random() * (items.length - i))
    const swapped = items[i]!
    items[i] = items[j]!
    items[j] = swapped
  }
  return items.slice(0, count)
}
